"""What is in the way of an upgrade is said before anything is changed, with the cure; the rest is adapted to."""

from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.connection import DatabaseUnfit, connect
from engarde_pipeline.postgres.reads.diagnosis import check_permissions, check_schema
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.schema.application_schema import ApplicationUnfit, adaptations, check
from engarde_pipeline.postgres.schema.migrate import SchemaNewer, SchemaNotCurrent
from engarde_pipeline.postgres.schema.refusals import MigrationRefused
from engarde_pipeline.sync.faults import is_transient
from engarde_pipeline_tests.postgres.test_migrations import application, snapshot


def run(url: str, *statements: str) -> None:
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


# What the pipeline cannot work with: how the application's tables differ, and what is said.
_IN_THE_WAY = {
    "ids of another type": (
        "ALTER TABLE campaign_assets ALTER COLUMN id TYPE varchar(36)",
        r"campaign_assets\.id is character varying\(36\), but must be uuid: ALTER TABLE campaign_assets ALTER",
    ),
    "a view": (
        "ALTER TABLE tenants RENAME TO organizations; CREATE VIEW tenants AS SELECT * FROM organizations",
        r"tenants is a view in schema public",
    ),
    "no key": (
        "ALTER TABLE campaign_assets DROP CONSTRAINT campaign_assets_pkey",
        r"campaign_assets\.id has no primary key.*ALTER TABLE campaign_assets ADD UNIQUE \(id\);",
    ),
    "a key of two columns": (
        "ALTER TABLE campaign_assets DROP CONSTRAINT campaign_assets_pkey, ADD PRIMARY KEY (tenant_id, id)",
        r"campaign_assets\.id has no primary key",
    ),
    "a deferrable key": (
        "ALTER TABLE campaign_assets DROP CONSTRAINT campaign_assets_pkey, ADD PRIMARY KEY (id) DEFERRABLE",
        r"campaign_assets\.id has no primary key.*not deferrable",
    ),
    "a table that inherits": (
        "CREATE TABLE archived_spaces () INHERITS (campaign_spaces)",
        r"archived_spaces inherits from campaign_spaces.*ALTER TABLE archived_spaces NO INHERIT campaign_spaces;",
    ),
    "a column of another name": (
        "ALTER TABLE campaign_spaces RENAME external_campaign_id TO platform_campaign_id",
        r"campaign_spaces has no column external_campaign_id.*GENERATED ALWAYS AS \(the_other_name\) STORED",
    ),
    "a schema that is not in the search_path": (
        "CREATE SCHEMA app; ALTER TABLE tenants SET SCHEMA app",
        r"tenants is in schema app, which is not in the search_path.*ALTER DATABASE",
    ),
    "a table that a crash empties": (
        "ALTER TABLE campaign_assets SET UNLOGGED",
        r"campaign_assets is unlogged.*ALTER TABLE campaign_assets SET LOGGED;",
    ),
    "a table of another name": (
        "ALTER TABLE tenants RENAME TO organizations",
        r"campaign_spaces\.tenant_id refers to organizations.*ALTER TABLE organizations RENAME TO tenants;",
    ),
    "a table named in upper case": (
        'ALTER TABLE tenants RENAME TO "Tenants"',
        r'tenants is named public\."Tenants".*ALTER TABLE public\."Tenants" RENAME TO tenants;',
    ),
    "totals that nobody can write": (
        "ALTER TABLE campaign_spaces ADD total_impressions text, ADD total_clicks text, ADD total_spend text,"
        " ADD total_conversions text, ADD total_revenue text, ADD avg_ctr text,"
        " ADD avg_roas numeric GENERATED ALWAYS AS (1) STORED",
        r"campaign_spaces has no column that a total can be written to",
    ),
    "a rule in place of updates": (
        "CREATE RULE frozen AS ON UPDATE TO campaign_spaces DO INSTEAD NOTHING",
        r"campaign_spaces has a rule ON UPDATE DO INSTEAD.*DROP RULE",
    ),
}


@pytest.mark.parametrize(("difference", "said"), _IN_THE_WAY.values(), ids=_IN_THE_WAY)
def test_an_upgrade_refuses_before_it_changes_anything(
    empty_database_url: str, difference: str, said: str
) -> None:
    application(empty_database_url, {})
    run(empty_database_url, difference)
    before = snapshot(empty_database_url)

    for attempt in (migrate.upgrade, check_schema):
        with pytest.raises(ApplicationUnfit, match=said):
            attempt(empty_database_url)

    assert snapshot(empty_database_url) == before
    assert migrate.current(empty_database_url) is None


# Names that are taken in a database without the pipeline.
_TAKEN = {
    "a table": ("CREATE TABLE campaign_metrics (mine text)", "campaign_metrics already exists"),
    "a view": ("CREATE VIEW platform_days AS SELECT 1 AS mine", "platform_days already exists"),
    "a type": ("CREATE TYPE synced_dates AS ENUM ('mine')", "ALTER TYPE synced_dates RENAME TO synced_dates_old;"),
    "a composite type": ("CREATE TYPE synced_dates AS (mine text)", "ALTER TYPE synced_dates RENAME TO"),
    "a domain": ("CREATE DOMAIN synced_dates AS text", "ALTER DOMAIN synced_dates RENAME TO synced_dates_old;"),
    "a schema": ("CREATE SCHEMA engarde_api", "schema engarde_api already exists.*RENAME TO"),
    "a function": (
        "CREATE FUNCTION keep_platform_days() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        'function "keep_platform_days" already exists.*Rename it',
    ),
    "an index": (
        "CREATE TABLE mine (id int); CREATE INDEX campaign_metrics_key ON mine (id)",
        'relation "campaign_metrics_key" already exists.*Rename it',
    ),
}


@pytest.mark.parametrize(("taken", "said"), _TAKEN.values(), ids=_TAKEN)
def test_what_has_a_name_of_ours_is_named_and_never_dropped(
    empty_database_url: str, taken: str, said: str
) -> None:
    application(empty_database_url, {})
    run(empty_database_url, taken)
    before = snapshot(empty_database_url)

    with pytest.raises(MigrationRefused, match=said):
        migrate.upgrade(empty_database_url)

    assert snapshot(empty_database_url) == before


def test_a_role_that_lacks_rights_is_told_every_grant(empty_database_url: str) -> None:
    application(empty_database_url, {})
    role, url = _new_role(empty_database_url)
    run(empty_database_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")

    with pytest.raises(MigrationRefused) as refused:
        migrate.upgrade(url)
    said = str(refused.value)
    assert f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role}";' in said
    assert f'GRANT CREATE ON DATABASE "{make_url(url).database}" TO "{role}";' in said
    assert f'GRANT SELECT, REFERENCES ON "public"."tenants" TO "{role}";' in said
    assert f'GRANT "postgres" TO "{role}";' in said


def test_a_schema_that_the_role_may_not_use_is_named(empty_database_url: str) -> None:
    application(empty_database_url, {})
    run(empty_database_url, "CREATE SCHEMA app; ALTER TABLE tenants SET SCHEMA app")
    _, url = _new_role(empty_database_url)

    with pytest.raises(ApplicationUnfit, match=r"tenants is in schema app.*GRANT USAGE ON SCHEMA app"):
        migrate.upgrade(url)


def test_the_owner_of_the_tables_can_upgrade_once_it_has_been_granted_what_is_said(
    empty_database_url: str,
) -> None:
    application(empty_database_url, {})
    role, url = _new_role(empty_database_url)
    run(
        empty_database_url,
        f"ALTER SCHEMA public OWNER TO {role}",
        *(f"ALTER TABLE {name} OWNER TO {role}" for name in ("tenants", "campaign_spaces", "campaign_assets")),
    )
    with pytest.raises(MigrationRefused) as refused:
        migrate.upgrade(url)

    (grant,) = [line.partition(" run ")[2] for line in str(refused.value).splitlines() if "GRANT" in line]
    run(empty_database_url, grant)
    migrate.upgrade(url)

    assert migrate.current(url) == migrate.head()


def test_a_read_only_server_refuses_in_one_line(empty_database_url: str) -> None:
    name = make_url(empty_database_url).database
    run(empty_database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with pytest.raises(MigrationRefused, match=r"read-only transaction.*primary server"):
        migrate.upgrade(empty_database_url)


def test_what_depends_on_our_tables_is_named_by_a_downgrade(database_url: str) -> None:
    run(database_url, "CREATE VIEW report AS SELECT * FROM campaign_metrics")

    with pytest.raises(
        MigrationRefused, match=r"view report depends on .*table campaign_metrics.*Drop what depends"
    ):
        migrate.downgrade(database_url, "base")

    assert migrate.current(database_url) == migrate.head()


def test_what_the_application_changes_later_is_said_at_the_next_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "any")
    Postgres().connect().close()
    run(database_url, "ALTER TABLE campaign_spaces RENAME external_campaign_id TO platform_campaign_id")

    with pytest.raises(ApplicationUnfit, match="campaign_spaces has no column external_campaign_id"):
        Postgres().connect()


# What the pipeline adapts to


def test_a_total_that_is_not_ours_to_write_is_adaptations(database_url: str) -> None:
    run(
        database_url,
        "ALTER TABLE campaign_spaces DROP avg_ctr, DROP avg_roas, DROP total_clicks",
        "ALTER TABLE campaign_spaces ADD avg_ctr numeric GENERATED ALWAYS AS (1) STORED,"
        " ADD avg_roas numeric NOT NULL DEFAULT 0",
    )

    with connect(database_url) as connection:
        sentences = adaptations(check(connection))

    assert sentences == [
        "campaign_spaces.total_clicks does not exist, so it is not written",
        "campaign_spaces.avg_ctr is a generated column, so it is left to the application",
        "campaign_spaces.avg_roas is NOT NULL, so it is 0 if the ratio does not exist",
    ]
    assert sentences[1] in check_schema(database_url)


def test_tables_in_two_schemas_of_the_search_path_are_found(empty_database_url: str) -> None:
    application(empty_database_url, {})
    name = make_url(empty_database_url).database
    run(
        empty_database_url,
        "CREATE SCHEMA core; ALTER TABLE tenants SET SCHEMA core; CREATE SCHEMA marketing",
        f"ALTER DATABASE {name} SET search_path = marketing, core, public",
    )

    migrate.upgrade(empty_database_url)
    with connect(empty_database_url) as connection:
        check(connection)
        placed = connection.execute("SELECT 'tenants'::regclass::oid = 'core.tenants'::regclass::oid").fetchone()
        seen = connection.execute("SELECT count(*) FROM engarde_api.tenants").fetchone()
        moved = connection.execute(
            "WITH other AS (INSERT INTO tenants SELECT gen_random_uuid(), 'Globex', 'paid', now() RETURNING id)"
            " SELECT id FROM other"
        ).fetchone()
        connection.execute("UPDATE campaign_spaces SET tenant_id = %s", moved)
        connection.execute("DELETE FROM campaign_assets; DELETE FROM campaign_spaces")
    migrate.downgrade(empty_database_url, "base")

    assert (placed, seen) == ((True,), (0,))


def test_the_application_may_change_what_the_pipeline_does_not_need(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url)

    run(
        empty_database_url,
        "ALTER TABLE tenants ALTER name TYPE varchar(300)",
        "ALTER TABLE campaign_spaces DROP CONSTRAINT campaign_spaces_platform_check",
        "CREATE TYPE ad_platform AS ENUM ('meta', 'google')",
        "ALTER TABLE campaign_spaces ALTER platform TYPE ad_platform USING platform::ad_platform",
        "ALTER TABLE campaign_spaces DROP COLUMN name",
        "ALTER TABLE campaign_spaces DROP COLUMN budget",
        "ALTER TABLE campaign_assets DROP COLUMN name",
        "ALTER TABLE campaign_assets ALTER external_asset_id TYPE varchar(99)",
    )

    with connect(empty_database_url) as connection:
        check(connection)
        connection.execute("SELECT set_config('engarde.tenant_id', (SELECT id::text FROM tenants), false)")
        connection.execute("SET ROLE engarde_api")
        assert connection.execute("SELECT name FROM engarde_api.tenants").fetchall() == [("Acme",)]
        spaces = connection.execute("SELECT name, platform FROM engarde_api.campaign_spaces").fetchall()
        assets = connection.execute("SELECT name FROM engarde_api.campaign_assets").fetchall()
    assert (spaces, assets) == ([(None, "meta")], [(None,)])
    migrate.downgrade(empty_database_url, "base")
    migrate.upgrade(empty_database_url)


def test_every_table_can_be_written_where_all_are_published(database_url: str) -> None:
    run(database_url, "CREATE PUBLICATION everything FOR ALL TABLES")

    check_permissions(database_url)
    run(database_url, "INSERT INTO platform_days SELECT gen_random_uuid(), current_date, 'meta', 1, 1, 1, 1, 1, 1")
    run(database_url, "DELETE FROM platform_days")


def test_a_table_of_the_application_that_a_publication_freezes_is_named(database_url: str) -> None:
    run(
        database_url,
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "ALTER TABLE campaign_spaces REPLICA IDENTITY NOTHING",
    )

    with pytest.raises(DatabaseUnfit, match="ALTER TABLE campaign_spaces REPLICA IDENTITY FULL;"):
        check_permissions(database_url)


# A schema that a newer version has migrated

_NEWER = f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"

_ADDITIONS = {
    "nothing that is seen": "SELECT 1",
    "a table": "CREATE TABLE metric_revisions (id uuid PRIMARY KEY)",
    "a column": "ALTER TABLE campaign_metrics ADD labels text",
    "a column with a default": "ALTER TABLE synced_dates ADD checksum bigint NOT NULL DEFAULT 0",
    "a generated column": "ALTER TABLE campaign_metrics ADD twice numeric GENERATED ALWAYS AS (2 * spend) STORED",
    "an index": "CREATE INDEX ON campaign_metrics (platform)",
    "a comment": "COMMENT ON TABLE campaign_metrics IS 'seen'",
}

_CHANGES = {
    "a column is renamed": ("ALTER TABLE synced_dates RENAME version TO source_version", "synced_dates"),
    "a column has another type": ("ALTER TABLE synced_dates ALTER run_id TYPE text", "run_id"),
    "a column must be filled": ("ALTER TABLE bigquery_usage ADD account text NOT NULL", "account"),
    "a default is gone": ("ALTER TABLE rejected_metric_rows ALTER first_seen_at DROP DEFAULT", "first_seen_at"),
    "a table is gone": ("DROP TABLE changed_dates", "changed_dates"),
    "a key is another": (
        "DROP INDEX campaign_metrics_key; CREATE UNIQUE INDEX campaign_metrics_key ON campaign_metrics"
        " (campaign_space_id, metric_date)",
        "campaign_metrics_key",
    ),
    "values are restricted": ("ALTER TABLE campaign_metrics ADD CONSTRAINT few CHECK (clicks < 9)", "few"),
}


@pytest.mark.parametrize("addition", _ADDITIONS.values(), ids=_ADDITIONS)
def test_a_newer_schema_that_only_has_more_is_written_to(database_url: str, addition: str) -> None:
    run(database_url, addition, _NEWER)

    assert migrate.check(database_url) == "9999"


@pytest.mark.parametrize(("change", "named"), _CHANGES.values(), ids=_CHANGES)
def test_a_newer_schema_that_is_another_is_waited_for(database_url: str, change: str, named: str) -> None:
    run(database_url, change, _NEWER)

    with pytest.raises(SchemaNewer, match=rf"revision 9999.*{named}.*deploy the version") as raised:
        migrate.check(database_url)
    assert is_transient(raised.value)


def test_an_older_schema_is_not_waited_for(database_url: str) -> None:
    migrate.downgrade(database_url, "0005")

    with pytest.raises(SchemaNotCurrent, match=r"revision 0005.*engarde db upgrade") as raised:
        migrate.check(database_url)
    assert not is_transient(raised.value)


@pytest.mark.parametrize("command", [migrate.upgrade, lambda url: migrate.downgrade(url, "base")])
def test_an_older_version_does_not_migrate_what_a_newer_one_made(database_url: str, command) -> None:  # type: ignore[no-untyped-def]
    run(database_url, _NEWER)

    with pytest.raises(MigrationRefused, match=r"9999, which a newer version .* made.*Deploy that version"):
        command(database_url)


def _new_role(url: str) -> tuple[str, str]:
    role = f"role_{uuid4().hex}"
    run(url, f"CREATE ROLE {role} LOGIN")
    return role, make_url(url).set(username=role).render_as_string(hide_password=False)
