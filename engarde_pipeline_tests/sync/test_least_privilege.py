"""The pipeline with the grants of deploy/postgres-role.sql, and nothing more."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.connection import DatabaseUnfit, connect
from engarde_pipeline.postgres.reads.diagnosis import check_permissions, check_schema
from engarde_pipeline.postgres.reads.usage import add_bytes, bytes_today
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline_tests.sync.samples import DAY, asset_row, row
from engarde_pipeline_tests.world import World

SCRIPT = Path(__file__).parents[2] / "deploy" / "postgres-role.sql"
ROLE = "engarde_pipeline"


@pytest.fixture
def role_url(database_url: str) -> Iterator[str]:
    """The database as the pipeline's role sees it."""
    with connect(database_url) as owner:
        owner.execute(SCRIPT.read_bytes())
        yield make_url(database_url).set(username=ROLE).render_as_string(hide_password=False)


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
