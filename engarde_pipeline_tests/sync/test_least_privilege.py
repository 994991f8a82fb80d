"""The pipeline with the grants of deploy/postgres-role.sql, and nothing more."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.connection import DatabaseUnfit, connect
from engarde_pipeline.postgres.reads.diagnosis import check_permissions, check_schema
from engarde_pipeline.postgres.reads.usage import add_bytes, bytes_today
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.postgres.totals.metric_blocks import update_blocks
from engarde_pipeline_tests.role_script import run_role_script
from engarde_pipeline_tests.sync.samples import DAY, asset_row, row
from engarde_pipeline_tests.world import World

ROLE = "engarde_pipeline"


@pytest.fixture
def role_url(database_url: str) -> str:
    """The database as the pipeline's role sees it."""
    run_role_script(database_url).check_returncode()
    return make_url(database_url).set(username=ROLE).render_as_string(hide_password=False)


def test_the_documented_role_passes_the_doctors_checks(role_url: str) -> None:
    check_schema(role_url)
    check_permissions(role_url)


def test_the_documented_role_syncs_sums_and_counts_bytes(
    role_url: str, world: World, tenant: UUID, asset: UUID
) -> None:
    world.load([row(tenant), row(tenant, "unmapped")])
    world.load([asset_row()], ASSET_METRICS)
    world.database_url = role_url

    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        world.sync_one(DAY, table=table)
    with connect(role_url) as connection:
        update_totals(connection)
        update_blocks(connection)
        add_bytes(connection, 5)

        assert bytes_today(connection) == 5
    assert len(world.rows()) == len(world.rows(ASSET_METRICS)) == len(world.rejected()) == 1


def test_the_doctor_names_whichever_grant_is_lacking(role_url: str, database_url: str) -> None:
    with connect(database_url) as owner:
        grants = owner.execute(
            "SELECT privilege_type, table_name FROM information_schema.role_table_grants WHERE grantee = %s",
            [ROLE],
        ).fetchall()
        assert grants
        for privilege, table in grants:
            owner.execute(f"REVOKE {privilege} ON {table} FROM {ROLE}".encode())

            with pytest.raises(DatabaseUnfit, match=f'GRANT {privilege} ON {table} TO "{ROLE}";'):
                check_permissions(role_url)

            owner.execute(f"GRANT {privilege} ON {table} TO {ROLE}".encode())


def test_a_pipeline_with_the_apis_restriction_is_told_before_it_takes_rows_for_missing(
    role_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", role_url)
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "any")
    with connect(database_url) as owner:
        owner.execute(f"GRANT engarde_api TO {ROLE}".encode())

        with pytest.raises(DatabaseUnfit, match=f'REVOKE engarde_api FROM "{ROLE}"'):
            check_permissions(role_url)
        with pytest.raises(DatabaseUnfit, match="restricted to one tenant"):
            Postgres().connect()

        owner.execute(f"REVOKE engarde_api FROM {ROLE}".encode())
    Postgres().connect().close()


@pytest.fixture
def owner_url(postgres_server: str, empty_database_url: str) -> Iterator[str]:
    """A migrated database in a schema of its own, owned by a role that may not create roles."""
    name = f"owner_{uuid4().hex}"
    database = make_url(empty_database_url).database
    with connect(postgres_server) as administrator:
        administrator.execute(f"CREATE ROLE {name} LOGIN".encode())
        administrator.execute(f"ALTER DATABASE {database} OWNER TO {name}".encode())
        administrator.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC".encode())
    url = make_url(empty_database_url).set(username=name).render_as_string(hide_password=False)
    with connect(url) as owner:
        owner.execute("CREATE SCHEMA app")
        owner.execute(f"ALTER ROLE {name} IN DATABASE {database} SET search_path = app".encode())
    migrate.upgrade(url)
    yield url
    with connect(empty_database_url) as administrator:
        administrator.execute(f"DROP OWNED BY {name} CASCADE".encode())
        administrator.execute(f"ALTER DATABASE {database} OWNER TO postgres".encode())
        administrator.execute(f"DROP ROLE {name}".encode())


def test_an_owner_who_may_not_create_roles_runs_the_script_once_they_exist(owner_url: str, role_url: str) -> None:
    done = run_role_script(owner_url)

    assert done.returncode == 0, done.stderr
    # The owner may not set it, and says who should.
    for role in (ROLE, "engarde_api"):
        assert f"Let an administrator run ALTER ROLE {role} IN DATABASE" in done.stderr
    with connect(make_url(owner_url).set(username=ROLE).render_as_string(False)) as connection:
        assert connection.execute("SELECT count(*) FROM app.campaign_metrics").fetchone() == (0,)


def test_both_roles_find_the_tables_where_their_owner_does(owner_url: str, empty_database_url: str) -> None:
    administrator = make_url(empty_database_url).update_query_dict({"options": "-csearch_path=app"})
    assert run_role_script(administrator.render_as_string(False)).returncode == 0
    with connect(empty_database_url) as connection:
        connection.execute("ALTER ROLE engarde_api LOGIN")
    for role in (ROLE, "engarde_api"):
        with connect(make_url(owner_url).set(username=role).render_as_string(False)) as connection:
            assert connection.execute("SELECT count(*) FROM campaign_metrics").fetchone() == (0,)


def test_psql_reports_a_failure_of_the_script(empty_database_url: str) -> None:
    done = run_role_script(empty_database_url)
    assert done.returncode == 3
    assert 'relation "tenants" does not exist' in done.stderr
