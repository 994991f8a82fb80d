"""What is read from blocks is what the rows add up to, in every snapshot; blocks are read where they can be."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import KEYS, GroupBy, MetricsQuery, fingerprint, groups
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.totals.metric_blocks import BLOCK_DAYS, SUBJECTS, update_blocks

FIRST = date(1970, 1, 1) + timedelta(77 * BLOCK_DAYS[-1])
DAYS = [FIRST + timedelta(n - 10) for n in range(90)]
"""They begin ten dates before a largest block does."""

SUBJECT_OF: dict[str, GroupBy] = {CAMPAIGN_METRICS.target: "campaign", ASSET_METRICS.target: "asset"}

_SEED = """
INSERT INTO tenants (name) SELECT n::text FROM generate_series(1, 2) n;
INSERT INTO campaign_spaces (tenant_id, name, platform)
SELECT id, n || '"', CASE n % 2 WHEN 0 THEN 'meta' ELSE 'google' END FROM tenants, generate_series(1, 4) n;
INSERT INTO campaign_assets (tenant_id, campaign_space_id, name)
SELECT tenant_id, id, name FROM campaign_spaces, generate_series(1, 2);
"""

_INSERT = """
INSERT INTO {table} (tenant_id, {subject}, platform, metric_date, impressions, clicks, spend, conversions, revenue,
    currency, bigquery_sync_id, synced_from_bigquery_at)
SELECT s.tenant_id, s.id, {platform}, day, %(count)s, %(count)s / 3, %(count)s * 0.000001, 0.5, %(count)s,
    %(currency)s, gen_random_uuid(), now()
FROM {subjects} s, unnest(%(days)s::date[]) day
ON CONFLICT DO NOTHING
"""
_PLATFORM_OF_ASSET = "(SELECT platform FROM campaign_spaces c WHERE c.id = s.campaign_space_id)"

_CHANGES = (
    "UPDATE {table} SET clicks = clicks / 2, spend = spend + 0.000001 WHERE metric_date = ANY(%(days)s)",
    "UPDATE {table} SET platform = 'tiktok' WHERE metric_date = ANY(%(days)s) AND platform = 'meta'",
    "UPDATE {table} SET currency = 'USD' WHERE metric_date = ANY(%(days)s) AND currency IS NULL",
    "UPDATE {table} SET clicks = clicks + CASE id WHEN (SELECT min(id::text)::uuid FROM {table}) THEN 1 ELSE -1"
    " END WHERE metric_date = ANY(%(days)s) AND clicks > 0",
    "DELETE FROM {table} WHERE metric_date = ANY(%(days)s)",
    "DELETE FROM campaign_assets WHERE id = (SELECT min(id::text)::uuid FROM campaign_assets)",
    "WITH chosen AS (SELECT min(id::text)::uuid AS id FROM campaign_spaces),"
    " assets AS (DELETE FROM campaign_assets WHERE campaign_space_id = (SELECT id FROM chosen))"
    " DELETE FROM campaign_spaces WHERE id = (SELECT id FROM chosen)",
    "UPDATE campaign_spaces SET tenant_id = (SELECT max(id::text)::uuid FROM tenants)"
    " WHERE id = (SELECT max(id::text)::uuid FROM campaign_spaces)",
    "TRUNCATE {table}",
)


def insert(
    connection: psycopg.Connection,
    table: MetricTable,
    days: list[date],
    count: int = 7,
    currency: str | None = None,
) -> None:
    """Add a row for each campaign or asset and date that has none."""
    is_asset = table is ASSET_METRICS
    statement = _INSERT.format(
        table=table.target,
        subject=SUBJECTS[table.target],
        subjects="campaign_assets" if is_asset else "campaign_spaces",
        platform=_PLATFORM_OF_ASSET if is_asset else "s.platform",
    )
    connection.execute(statement.encode(), {"days": days, "count": count, "currency": currency})


def change(connection: psycopg.Connection, statement: str, table: MetricTable, days: list[date]) -> None:
    connection.execute(statement.format(table=table.target).encode(), {"days": days})


def read(connection: psycopg.Connection, query: MetricsQuery, by: GroupBy) -> list[tuple[Any, ...]]:
    """Return the groups as the API's statement has them."""
    connection.execute("SELECT set_config('engarde.tenant_id', %s, false)", [str(query.tenant_id)])
    row = connection.execute(*groups(query, by, Page(10_000))).fetchone()
    assert row is not None
    names = [KEYS[by], "currency", *query.table.measure_names]
    found = json.loads(row[0], parse_float=Decimal)
    assert row[2] == len(found)
    return [tuple(group[name] for name in names) for group in found]


def added_up(connection: psycopg.Connection, query: MetricsQuery, by: GroupBy) -> list[tuple[Any, ...]]:
    """Return the groups as the sums of the rows."""
    sums = ", ".join(f"sum({name})" for name in query.table.measure_names)
    return connection.execute(
        f"SELECT {KEYS[by]}::text, currency, {sums} FROM {query.table.target}"
        " WHERE tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s"
        " AND (%(platform)s::text IS NULL OR platform = %(platform)s)"
        f" GROUP BY {KEYS[by]}, currency ORDER BY {KEYS[by]}, coalesce(currency, '')".encode(),
        query.values,
    ).fetchall()


def tenants(connection: psycopg.Connection) -> list[UUID]:
    return [tenant for (tenant,) in connection.execute("SELECT id FROM tenants ORDER BY name").fetchall()]


def any_query(chance: random.Random, connection: psycopg.Connection, table: MetricTable) -> MetricsQuery:
    start, end = sorted(chance.choices(DAYS, k=2))
    return MetricsQuery(
        chance.choice(tenants(connection)), start, end, platform=chance.choice([None, "meta"]), table=table
    )


def blocks(connection: psycopg.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM metric_blocks").fetchone() or ()
    return int(count)


@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.target)
@pytest.mark.parametrize("number", range(6))
def test_after_any_statements_what_is_read_is_what_the_rows_add_up_to(
    connection: psycopg.Connection, number: int, table: MetricTable
) -> None:
    chance = random.Random(number)  # noqa: S311  it invents statements
    connection.execute(_SEED)
    insert(connection, table, DAYS)
    update_blocks(connection)
    for _ in range(25):
        days = chance.sample(DAYS, chance.choice([1, 5]))
        if chance.random() < 0.3:
            update_blocks(connection)
        elif chance.random() < 0.4:
            insert(connection, table, days, chance.choice([0, 7, 2**63 - 1]), chance.choice([None, "EUR"]))
        else:
            change(connection, chance.choice(_CHANGES[: -1 if chance.random() < 0.9 else None]), table, days)
        query = any_query(chance, connection, table)
        by = SUBJECT_OF[table.target]
        assert read(connection, query, by) == added_up(connection, query, by)


def test_in_every_snapshot_of_concurrent_writers_it_is_what_the_rows_add_up_to(
    connection: psycopg.Connection, database_url: str
) -> None:
    connection.execute(_SEED)
    insert(connection, CAMPAIGN_METRICS, DAYS)
    ended = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(number)  # noqa: S311  it invents statements
        with connect(database_url) as own:
            while not ended.is_set():
                # As a sync does: a date in one transaction, in several statements.
                with own.transaction():
                    days = [chance.choice(DAYS[number::2])]
                    change(own, chance.choice(_CHANGES[:5]), CAMPAIGN_METRICS, days)
                    insert(own, CAMPAIGN_METRICS, days, chance.randrange(1000))

    def update() -> int:
        updates = 0
        with connect(database_url) as own:
            while not ended.is_set():
                update_blocks(own)
                updates += 1
        return updates

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(2)]
        updater = pool.submit(update)
        try:
            chance = random.Random(0)  # noqa: S311  it invents questions
            for _ in range(150):
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    query = any_query(chance, connection, CAMPAIGN_METRICS)
                    assert read(connection, query, "campaign") == added_up(connection, query, "campaign")
        finally:
            ended.set()
        for writer in writers:
            writer.result()
        assert updater.result()


@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.target)
def test_blocks_are_read_in_place_of_rows_until_a_row_changes(
    connection: psycopg.Connection, table: MetricTable
) -> None:
    connection.execute(_SEED)
    insert(connection, table, DAYS)
    update_blocks(connection)
    by, tenant = SUBJECT_OF[table.target], tenants(connection)[0]
    # The last 64 dates are a block each of them, the ten before it two blocks of four and two dates.
    query = MetricsQuery(tenant, DAYS[0], FIRST + timedelta(63), table=table)
    before = read(connection, query, by)
    _without_triggers(connection, table, "UPDATE {table} SET clicks = 100")

    assert sum(group[3] for group in read(connection, query, by)) == sum(
        group[3] + 2 * (100 - 2) for group in before
    )
    change(connection, "UPDATE {table} SET spend = 0 WHERE metric_date = ANY(%(days)s)", table, [FIRST])
    stale = read(connection, query, by)
    update_blocks(connection)

    # One date has changed: the other three of its smallest block are rows again, and so are now in the blocks.
    assert sum(group[3] for group in stale) == sum(group[3] + (2 + 4) * (100 - 2) for group in before)
    assert read(connection, query, by) == stale


def _without_triggers(connection: psycopg.Connection, table: MetricTable, statement: str) -> None:
    connection.execute(f"ALTER TABLE {table.target} DISABLE TRIGGER USER".encode())
    change(connection, statement, table, [])
    connection.execute(f"ALTER TABLE {table.target} ENABLE TRIGGER USER".encode())


def test_nothing_is_written_where_nothing_changed_nor_kept_where_nothing_is_left(
    connection: psycopg.Connection,
) -> None:
    connection.execute(_SEED)
    insert(connection, ASSET_METRICS, DAYS)
    update_blocks(connection)
    versions = "SELECT xmin::text, id, version FROM metric_blocks ORDER BY id"
    before, other = connection.execute(versions).fetchall(), tenants(connection)[1]

    connection.execute("DELETE FROM campaign_asset_metrics WHERE tenant_id = %s", [other])
    update_blocks(connection)

    after = connection.execute(versions).fetchall()
    assert set(after) < set(before)
    assert len(after) == len(before) // 2
    connection.execute("DELETE FROM campaign_assets")
    update_blocks(connection)
    for emptied in ("metric_blocks", "metric_block_sums", "due_blocks", "asset_platform_days"):
        assert connection.execute(f"SELECT FROM {emptied}".encode()).fetchall() == []


def test_any_change_of_assets_alters_their_fingerprint(connection: psycopg.Connection) -> None:
    connection.execute(_SEED)
    insert(connection, ASSET_METRICS, DAYS[:2])
    query = MetricsQuery(tenants(connection)[0], DAYS[0], DAYS[1], table=ASSET_METRICS)
    seen = {connection.execute(*fingerprint(query)).fetchone()}
    for statement in _CHANGES[:5]:
        change(connection, statement, ASSET_METRICS, [DAYS[0]])
        seen.add(connection.execute(*fingerprint(query)).fetchone())
    assert len(seen) == 6


def test_the_migration_makes_every_date_due_and_goes_down_again(
    connection: psycopg.Connection, database_url: str
) -> None:
    connection.execute(_SEED)
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        insert(connection, table, DAYS)
    migrate.downgrade(database_url, "-1")
    insert(connection, ASSET_METRICS, [DAYS[-1] + timedelta(1)])
    connection.execute("UPDATE campaign_metrics SET clicks = 1")
    migrate.upgrade(database_url)
    assert not blocks(connection)

    update_blocks(connection)

    assert blocks(connection)
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        by = SUBJECT_OF[table.target]
        query = MetricsQuery(tenants(connection)[0], DAYS[0], DAYS[-1] + timedelta(1), table=table)
        assert read(connection, query, by) == added_up(connection, query, by)
        assert read(connection, query, "platform") == added_up(connection, query, "platform")
