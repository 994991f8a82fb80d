"""The migrations, on an empty database and beside an application that was there first."""

import re
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg.rows import dict_row
from sqlalchemy import CheckConstraint, inspect

from engarde_pipeline.postgres.connection import connect, create_engine
from engarde_pipeline.postgres.reads.diagnosis import check_schema
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.schema.migrate import SchemaNotCurrent
from engarde_pipeline.postgres.schema.refusals import MigrationRefused
from engarde_pipeline.postgres.schema.tables import metadata

OURS = {
    "campaign_metrics",
    "campaign_asset_metrics",
    "rejected_metric_rows",
    "campaign_space_months",
    "campaign_space_sums",
    "changed_dates",
    "platform_days",
    "asset_platform_days",
    "metric_blocks",
    "metric_block_sums",
    "due_blocks",
    "bigquery_usage",
    "synced_dates",
    "held_dates",
    "source_keys",
    "removed_rows",
}
THEIRS = {"tenants", "campaign_spaces", "campaign_assets"}

TOTAL_COLUMNS = {
    "total_impressions": "bigint",
    "total_clicks": "bigint",
    "total_spend": "numeric(38, 6)",
    "total_conversions": "numeric(38, 6)",
    "total_revenue": "numeric(38, 6)",
    "avg_ctr": "numeric",
    "avg_roas": "numeric",
    "performance_last_updated": "timestamptz",
}

# More than the pipeline knows of: other columns, defaults, constraints, an enum, an index, a trigger, a table.
_APPLICATION = """
CREATE TYPE plan AS ENUM ('free', 'paid');
CREATE TABLE tenants (
    id uuid PRIMARY KEY, name varchar(80) NOT NULL UNIQUE, plan plan NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE campaign_spaces (
    id uuid PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants ON DELETE RESTRICT, name text NOT NULL,
    platform varchar(20) NOT NULL CHECK (platform <> ''), external_campaign_id varchar(64), budget numeric NOT NULL
    {totals});
CREATE UNIQUE INDEX spaces_external ON campaign_spaces (tenant_id, platform, external_campaign_id);
COMMENT ON TABLE campaign_spaces IS 'the application''s own';
COMMENT ON COLUMN campaign_spaces.budget IS 'per day';
CREATE TABLE campaign_assets (
    id uuid PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants,
    campaign_space_id uuid NOT NULL REFERENCES campaign_spaces, external_asset_id text, name text NOT NULL,
    kind text NOT NULL DEFAULT 'image');
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('abc123');
INSERT INTO tenants VALUES (gen_random_uuid(), 'Acme', 'paid', now());
INSERT INTO campaign_spaces (id, tenant_id, name, platform, external_campaign_id, budget)
    SELECT gen_random_uuid(), id, 'Spring', 'meta', 'c1', 12.5 FROM tenants;
INSERT INTO campaign_assets (id, tenant_id, campaign_space_id, external_asset_id, name)
    SELECT gen_random_uuid(), tenant_id, id, 'a1', 'Video' FROM campaign_spaces;
"""


_ONE_METRIC_ROW = """
INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, impressions, clicks, spend,
    conversions, revenue, bigquery_sync_id, synced_from_bigquery_at)
SELECT tenant_id, id, platform, current_date, 1, 1, 1, 1, 1, gen_random_uuid(), now() FROM campaign_spaces
"""


def application(url: str, total_columns: dict[str, str]) -> None:
    """Create the application's tables with a row each, and some of the total columns."""
    totals = "".join(f", {name} {kind}" for name, kind in total_columns.items())
    with connect(url) as connection:
        connection.execute(_APPLICATION.format(totals=totals).encode())
        for name, kind in total_columns.items():
            value = "now()" if kind == "timestamptz" else "7"
            connection.execute(f"UPDATE campaign_spaces SET {name} = {value}".encode())


def query(url: str, statement: str) -> list[dict[str, Any]]:
    with connect(url) as connection, psycopg.Cursor(connection, row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode()).fetchall()


def tables(url: str) -> set[str]:
    names = query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    # Alembic's own table stays, empty, whatever is downgraded.
    return {row["tablename"] for row in names} - {migrate.VERSION_TABLE}


_CATALOGUE = {
    "columns": "SELECT table_name, column_name, ordinal_position, data_type, udt_name, character_maximum_length,"
    " numeric_precision, numeric_scale, is_nullable, column_default,"
    " col_description(('public.' || quote_ident(table_name))::regclass, ordinal_position) AS comment"
    " FROM information_schema.columns WHERE table_schema = 'public'",
    "constraints": "SELECT conrelid::regclass::text AS table_name, conname, pg_get_constraintdef(oid) AS rule"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT tablename AS table_name, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "comments": "SELECT relname AS table_name, obj_description(oid, 'pg_class') AS comment FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
}


def snapshot(url: str) -> dict[str, list[str]]:
    """Return everything there is in the database: definitions, and every row of every table."""
    found = {
        name: [row for row in query(url, statement) if row["table_name"] != migrate.VERSION_TABLE]
        for name, statement in _CATALOGUE.items()
    }
    rows = {table: query(url, f'SELECT ctid::text, * FROM "{table}"') for table in tables(url)}
    return {name: sorted(map(repr, lines)) for name, lines in {**found, **rows}.items()}


PRESENT = {
    "none": {},
    "some": {name: TOTAL_COLUMNS[name] for name in ("total_clicks", "avg_roas", "performance_last_updated")},
    "all": TOTAL_COLUMNS,
    "others of that name": {"total_spend": "numeric(12, 2)", "avg_ctr": "double precision"},
}


def test_an_empty_database_gets_every_table(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)

    assert tables(empty_database_url) == OURS | THEIRS
    assert migrate.current(empty_database_url) == migrate.head()


def test_a_downgrade_of_what_was_empty_leaves_nothing(empty_database_url: str) -> None:
    before = snapshot(empty_database_url)

    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")

    assert snapshot(empty_database_url) == before
    assert migrate.current(empty_database_url) is None


@pytest.mark.parametrize("present", PRESENT.values(), ids=PRESENT)
def test_an_application_that_was_there_first_gets_only_what_it_lacks(
    empty_database_url: str, present: dict[str, str]
) -> None:
    application(empty_database_url, present)
    before = snapshot(empty_database_url)

    migrate.upgrade(empty_database_url)

    assert tables(empty_database_url) == OURS | THEIRS | {"alembic_version"}
    after = snapshot(empty_database_url)
    assert set(before["columns"]) <= set(after["columns"])
    assert set(before["constraints"]) <= set(after["constraints"])
    added = query(
        empty_database_url,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'campaign_spaces'"
        " AND col_description('campaign_spaces'::regclass, ordinal_position) LIKE 'created by engarde%'",
    )
    assert {row["column_name"] for row in added} == TOTAL_COLUMNS.keys() - present.keys()
    assert len(query(empty_database_url, "SELECT * FROM campaign_assets")) == 1


@pytest.mark.parametrize("present", PRESENT.values(), ids=PRESENT)
def test_a_downgrade_leaves_an_application_exactly_as_it_was(
    empty_database_url: str, present: dict[str, str]
) -> None:
    application(empty_database_url, present)
    before = snapshot(empty_database_url)

    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")

    assert snapshot(empty_database_url) == before


@pytest.mark.long
@pytest.mark.parametrize("with_application", [False, True])
def test_up_and_down_twice_ends_where_up_ends(empty_database_url: str, with_application: bool) -> None:
    if with_application:
        application(empty_database_url, {})
    migrate.upgrade(empty_database_url)
    first = snapshot(empty_database_url)

    for _ in range(2):
        migrate.downgrade(empty_database_url, "base")
        migrate.upgrade(empty_database_url)

    second = snapshot(empty_database_url)
    # A column that was dropped and added again has another number, and nothing else.
    for snapped in (first, second):
        snapped["columns"] = [re.sub(r"'ordinal_position': \d+", "", line) for line in snapped["columns"]]
    assert second == first


def test_an_upgrade_of_what_is_current_changes_nothing(database_url: str) -> None:
    before = snapshot(database_url)

    migrate.upgrade(database_url)

    assert snapshot(database_url) == before


def test_a_missing_assets_table_is_created_beside_the_applications_others(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute("DROP TABLE campaign_assets")
    before = snapshot(empty_database_url)

    migrate.upgrade(empty_database_url)
    assert "campaign_assets" in tables(empty_database_url)
    migrate.downgrade(empty_database_url, "base")

    assert snapshot(empty_database_url) == before


def test_a_downgrade_with_metrics_in_the_tables_keeps_the_applications_rows(empty_database_url: str) -> None:
    application(empty_database_url, {})
    before = snapshot(empty_database_url)
    migrate.upgrade(empty_database_url)
    with connect(empty_database_url) as connection:
        connection.execute(_ONE_METRIC_ROW)

    migrate.downgrade(empty_database_url, "base")

    assert snapshot(empty_database_url) == before


def test_the_keys_of_rows_that_are_there_are_recorded(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url, "0005")
    with connect(empty_database_url) as connection:
        connection.execute(_ONE_METRIC_ROW)
        connection.execute(
            "INSERT INTO campaign_spaces (id, tenant_id, name, platform, external_campaign_id, budget)"
            " SELECT gen_random_uuid(), tenant_id, 'Never synced', platform, 'c2', 1 FROM campaign_spaces"
        )
        connection.execute(
            "INSERT INTO campaign_asset_metrics (tenant_id, campaign_asset_id, platform, metric_date, impressions,"
            " clicks, spend, conversions, revenue, engagements, bigquery_sync_id, synced_from_bigquery_at)"
            " SELECT tenant_id, id, 'meta', current_date, 1, 1, 1, 1, 1, 1, gen_random_uuid(), now()"
            " FROM campaign_assets"
        )

    migrate.upgrade(empty_database_url)

    keys = query(
        empty_database_url,
        "SELECT campaign_asset_id IS NOT NULL AS is_asset, platform, campaign_id, asset_id FROM source_keys"
        " ORDER BY 1 DESC",
    )
    assert [tuple(row.values()) for row in keys] == [
        (True, "meta", "c1", "a1"),
        (False, "meta", "c1", None),
    ]


def test_rejected_records_that_are_there_get_their_tenant(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0009")
    acme = "0f6a2c1e-5b1d-4c58-9d0e-3a7b6f2e8c41"
    keys = {"null_key": acme, "unknown_tenant": acme, "malformed_tenant": f"{acme} ", "asset_not_mapped": "Acme"}
    with connect(empty_database_url) as connection:
        for reason, tenant in keys.items():
            connection.execute(
                "INSERT INTO rejected_metric_rows"
                " (table_name, metric_date, keys, key_digest, measures, reason_code, reason, run_id)"
                " VALUES ('campaign_metrics', current_date, jsonb_build_object('tenant_id', %s::text), %s, '{}',"
                " %s, 'because', gen_random_uuid())",
                [tenant, reason.encode(), reason],
            )
    statement = "SELECT * FROM rejected_metric_rows ORDER BY reason_code"
    before = query(empty_database_url, statement)

    migrate.upgrade(empty_database_url)

    tenants = {row["reason_code"]: row["tenant_id"] for row in query(empty_database_url, statement)}
    assert {reason: str(tenant) for reason, tenant in tenants.items() if tenant} == {"null_key": acme}
    migrate.downgrade(empty_database_url, "0009")
    assert query(empty_database_url, statement) == before


def test_the_sums_are_per_currency_between_an_upgrade_and_a_downgrade_with_rows(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url, "0010")
    restated = "UPDATE campaign_metrics SET spend = spend + 1"
    sums = "SELECT sum(row_count) AS rows, sum(spend) AS spend FROM platform_days"
    with connect(empty_database_url) as connection:
        connection.execute(_ONE_METRIC_ROW)

        migrate.upgrade(empty_database_url)
        connection.execute(f"{restated}, currency = 'EUR'".encode())
        connection.execute(
            "INSERT INTO synced_dates (table_name, metric_date, version, run_id)"
            " VALUES ('campaign_metrics', current_date, '20261101T000000-9-90-currency+7', gen_random_uuid())"
        )
        assert connection.execute(
            "SELECT currency, sum(row_count), sum(spend) FROM platform_days GROUP BY 1 ORDER BY 1"
        ).fetchall() == [("EUR", 1, 2), (None, 0, 0)]

        migrate.downgrade(empty_database_url, "0010")
        connection.execute(restated.encode())
        assert query(empty_database_url, sums) == [{"rows": 1, "spend": 3}]
        assert query(empty_database_url, "SELECT version FROM synced_dates") == [
            {"version": "20261101T000000-9-90+7"}
        ]

        migrate.upgrade(empty_database_url)
        connection.execute(restated.encode())
    assert query(empty_database_url, sums) == [{"rows": 1, "spend": 4}]
    assert query(empty_database_url, "SELECT currency FROM campaign_metrics") == [{"currency": None}]


def test_the_dates_that_the_api_may_read_are_there_between_an_upgrade_and_a_downgrade(
    empty_database_url: str,
) -> None:
    migrate.upgrade(empty_database_url, "0014")
    held = "SELECT table_name, metric_date, held_at FROM held_dates"
    without = "SELECT table_name FROM engarde_api.dates_without_table"
    run = "0f6a2c1e-5b1d-4c58-9d0e-3a7b6f2e8c41"
    with connect(empty_database_url) as connection:
        connection.execute(
            "INSERT INTO held_dates (table_name, metric_date, reason, evidence, run_id)"
            " VALUES ('campaign_metrics', current_date, 'grown', 'all tenants', %s)",
            [run],
        )
        connection.execute(
            "INSERT INTO synced_dates (table_name, metric_date, version, run_id)"
            " VALUES ('campaign_metrics', current_date, '20261101T000000-9-90', %(run)s),"
            " ('campaign_asset_metrics', current_date, 'missing', %(run)s)",
            {"run": run},
        )
        before = snapshot(empty_database_url)
        for _ in range(2):
            migrate.upgrade(empty_database_url)
            connection.execute("SET ROLE engarde_api")
            assert len(connection.execute(held.encode()).fetchall()) == 1
            assert connection.execute(without.encode()).fetchall() == [("campaign_asset_metrics",)]
            connection.execute("RESET ROLE")

            migrate.downgrade(empty_database_url, "0014")

            assert snapshot(empty_database_url) == before
            connection.execute("SET ROLE engarde_api")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(held.encode())
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(without.encode())
            connection.execute("RESET ROLE")


def test_a_failed_upgrade_leaves_nothing(empty_database_url: str) -> None:
    with connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE rejected_metric_rows (mine text)")
    before = snapshot(empty_database_url)

    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(empty_database_url)

    assert snapshot(empty_database_url) == before
    assert migrate.current(empty_database_url) is None


# What the code believes and what the migrations made


def test_the_tables_in_code_are_the_tables_in_the_database(database_url: str) -> None:
    with create_engine(database_url).connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "version_table": migrate.VERSION_TABLE},
        )
        differences = [
            difference
            for difference in compare_metadata(context, metadata)
            # The mark by which a downgrade knows what it may drop.
            if not _is_about_comments(difference)
        ]
    assert differences == []


def _is_about_comments(difference: Any) -> bool:
    steps = difference if isinstance(difference, list) else [difference]
    return all(step[0] in ("modify_comment", "remove_table_comment") and _is_theirs(step) for step in steps)


def _is_theirs(step: tuple[Any, ...]) -> bool:
    return (step[1].name if step[0] == "remove_table_comment" else step[2]) in THEIRS


def test_what_autogenerate_does_not_compare_is_there_too(database_url: str) -> None:
    checks = {
        (table.name, str(constraint.name))
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    inspector = inspect(create_engine(database_url))
    found = {
        (table, check["name"]) for table in metadata.tables for check in inspector.get_check_constraints(table)
    }
    assert found == checks
    definitions = {row["indexname"]: row["indexdef"] for row in query(database_url, "SELECT * FROM pg_indexes")}
    assert "UNIQUE" in definitions["campaign_metrics_key"]
    assert "NULLS NOT DISTINCT" in definitions["campaign_metrics_key"]
    assert "WHERE (resolved_at IS NULL)" in definitions["rejected_metric_rows_open"]


def test_deleting_a_tenant_of_the_application_takes_its_metrics_along(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute(
            "WITH tenant AS (INSERT INTO tenants (name) VALUES ('Acme') RETURNING id), space AS ("
            " INSERT INTO campaign_spaces (tenant_id, name, platform) SELECT id, 'c', 'meta' FROM tenant"
            " RETURNING id, tenant_id)"
            " SELECT id FROM space"
        )
        connection.execute(_ONE_METRIC_ROW)

        connection.execute("DELETE FROM campaign_spaces")

    assert query(database_url, "SELECT * FROM campaign_metrics") == []


# Before anything is written


def test_a_current_schema_passes_the_check(database_url: str) -> None:
    assert migrate.head() in check_schema(database_url)


def test_a_database_that_was_never_migrated_fails_the_check(empty_database_url: str) -> None:
    with pytest.raises(SchemaNotCurrent, match=rf"{migrate.head()}.*engarde db upgrade"):
        migrate.check(empty_database_url)


def test_an_applications_own_alembic_is_not_taken_for_ours(empty_database_url: str) -> None:
    application(empty_database_url, {})

    with pytest.raises(SchemaNotCurrent, match="engarde db upgrade"):
        migrate.check(empty_database_url)


# Several at once


def test_of_three_upgrades_at_once_one_migrates_and_the_others_wait_for_it(empty_database_url: str) -> None:
    code = f"from engarde_pipeline.postgres.schema import migrate; migrate.upgrade({empty_database_url!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]

    assert [process.communicate()[1] for process in started] == [b"", b"", b""]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert tables(empty_database_url) == OURS | THEIRS


def test_an_upgrade_waits_for_another_one_and_finds_nothing_left_to_do(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(database_url) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('engarde_pipeline migrations'))")
        monkeypatch.setattr(migrate, "WAIT_FOR_ANOTHER_SECONDS", 0)
        with pytest.raises(MigrationRefused, match=r"Another migration.*has been running"):
            migrate.upgrade(database_url)

    migrate.upgrade(database_url)
