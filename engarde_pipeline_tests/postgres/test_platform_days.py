"""platform_days is what the rows of campaign_metrics add up to, whoever wrote them and whatever else happens."""

import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import engarde_pipeline
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.totals.platform_days import compact, dates_with_other_sums

ROOT = Path(engarde_pipeline.__file__).parents[1]

DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(4)]
MEASURES = ", ".join(CAMPAIGN_METRICS.measure_names)
SUMS = ", ".join(f"sum({name})" for name in CAMPAIGN_METRICS.measure_names)

# Numbers of all sizes: the largest counts there are do not overflow a sum, nor is a micro lost beside them.
_INSERT = """
INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, metric_hour, impressions,
    clicks, spend, conversions, revenue, currency, bigquery_sync_id, synced_from_bigquery_at)
SELECT tenant_id, id, platform, %(day)s, %(hour)s, %(count)s,
    %(count)s / 3, %(count)s * 0.000001, 0.5, %(count)s,
    CASE %(hour)s::smallint WHEN 0 THEN 'EUR' WHEN 23 THEN 'USD' END, gen_random_uuid(), now()
FROM campaign_spaces
ON CONFLICT DO NOTHING
"""
_UPDATES = (
    "UPDATE campaign_metrics SET clicks = clicks / 2, spend = spend + 0.000001 WHERE metric_date = %(day)s",
    "UPDATE campaign_metrics SET platform = 'tiktok' WHERE metric_date = %(day)s AND platform = 'meta'",
    "UPDATE campaign_metrics SET currency = 'USD' WHERE metric_date = %(day)s AND currency IS NULL",
    "UPDATE campaign_metrics SET metric_date = metric_date + 10 WHERE metric_date = %(day)s AND metric_hour = 0",
    "UPDATE campaign_metrics SET clicks = 1 WHERE false",
    "DELETE FROM campaign_metrics WHERE metric_date = %(day)s AND metric_hour IS NULL",
    "DELETE FROM campaign_metrics WHERE metric_date = %(day)s",
    "DELETE FROM campaign_spaces WHERE id = (SELECT min(id::text)::uuid FROM campaign_spaces)",
    "DELETE FROM campaign_spaces WHERE tenant_id = (SELECT min(id::text)::uuid FROM tenants)",
    "TRUNCATE campaign_metrics",
)


def seed(connection: psycopg.Connection, tenants: int = 2, campaigns: int = 3) -> None:
    """Add tenants with campaigns on two platforms."""
    connection.execute("INSERT INTO tenants (name) SELECT n::text FROM generate_series(1, %s) n", [tenants])
    connection.execute(
        "INSERT INTO campaign_spaces (tenant_id, name, platform)"
        " SELECT id, n::text, CASE n %% 2 WHEN 0 THEN 'meta' ELSE 'google' END"
        " FROM tenants, generate_series(1, %s) n",
        [campaigns],
    )


def insert(connection: psycopg.Connection, day: date, count: int = 7, hour: int | None = None) -> None:
    """Add a row for each campaign that has none."""
    connection.execute(_INSERT, {"day": day, "hour": hour, "count": count})


def kept(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return the sums as they are kept."""
    return connection.execute(
        f"SELECT tenant_id, metric_date, platform, currency, sum(row_count), {SUMS} FROM platform_days"
        " GROUP BY 1, 2, 3, 4 HAVING sum(row_count) <> 0 ORDER BY 1, 2, 3, 4".encode()
    ).fetchall()


def parts(connection: psycopg.Connection) -> int:
    """Return how many rows the sums are in."""
    (count,) = connection.execute("SELECT count(*) FROM platform_days").fetchone() or ()
    return int(count)


def added_up(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return the sums of the rows."""
    return connection.execute(
        f"SELECT tenant_id, metric_date, platform, currency, count(*), {SUMS} FROM campaign_metrics"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4".encode()
    ).fetchall()


@pytest.mark.parametrize("number", range(12))
def test_after_any_statements_the_sums_are_those_of_the_rows(connection: psycopg.Connection, number: int) -> None:
    chance = random.Random(number)  # noqa: S311  it invents statements
    seed(connection)
    for _ in range(25):
        day = chance.choice(DAYS)
        if chance.random() < 0.1:
            compact(connection, day)
        elif chance.random() < 0.6:
            count = chance.choice([0, 7, 10**6, 2**63 - 1])
            insert(connection, day, count, chance.choice([None, None, 0, 23]))
        else:
            connection.execute(chance.choice(_UPDATES).encode(), {"day": day})
        assert kept(connection) == added_up(connection)


def test_what_is_rolled_back_leaves_no_trace(connection: psycopg.Connection) -> None:
    seed(connection)
    insert(connection, DAYS[0])
    before = kept(connection)

    with connection.transaction(force_rollback=True):
        insert(connection, DAYS[1])
        connection.execute("DELETE FROM tenants WHERE false")
        connection.execute("UPDATE campaign_metrics SET clicks = 0")

    assert kept(connection) == before


@contextmanager
def several(database_url: str, count: int) -> Iterator[list[psycopg.Connection]]:
    """Yield connections."""
    connections = [connect(database_url) for _ in range(count)]
    yield connections
    for each in connections:
        each.close()


def test_transactions_that_change_the_same_sums_do_not_lose_each_others_part(
    connection: psycopg.Connection, database_url: str
) -> None:
    seed(connection, campaigns=40)
    for day in DAYS:
        insert(connection, day)
    ids = [row[0] for row in connection.execute("SELECT id FROM campaign_spaces").fetchall()]

    def work(number: int, own: psycopg.Connection) -> None:
        for campaign in ids[number::4]:
            own.execute("UPDATE campaign_metrics SET clicks = clicks + 5 WHERE campaign_space_id = %s", [campaign])
            own.execute("DELETE FROM campaign_spaces WHERE id = %s", [campaign])

    with several(database_url, 4) as connections, ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, number, own) for number, own in enumerate(connections)]:
            done.result()

    assert kept(connection) == added_up(connection) == []


def test_whoever_changes_rows_waits_for_nobody_who_changes_others(
    connection: psycopg.Connection, database_url: str
) -> None:
    seed(connection, tenants=1, campaigns=6)
    insert(connection, DAYS[0])
    ids = [row[0] for row in connection.execute("SELECT id FROM campaign_spaces ORDER BY platform").fetchall()]

    with several(database_url, 2) as (one, other), one.transaction(), other.transaction():
        for own, campaigns in ((one, ids[:3]), (other, ids[:2:-1])):
            own.execute("SET LOCAL lock_timeout = '1s'")
            own.execute("DELETE FROM campaign_spaces WHERE id = %s", [campaigns[0]])
        for own, campaigns in ((one, ids[:3]), (other, ids[:2:-1])):
            own.execute("DELETE FROM campaign_spaces WHERE id = %s", [campaigns[1]])
        connection.execute("SET lock_timeout = '1s'")
        connection.execute("UPDATE campaign_metrics SET clicks = 1 WHERE campaign_space_id = %s", [ids[2]])
        compact(connection, DAYS[0])

    assert kept(connection) == added_up(connection) != []


def test_parts_become_one_row_of_each_sum_and_those_of_nothing_none(connection: psycopg.Connection) -> None:
    seed(connection)
    insert(connection, DAYS[0])
    insert(connection, DAYS[0], hour=3)
    connection.execute("UPDATE campaign_metrics SET clicks = 1")
    connection.execute("DELETE FROM campaign_metrics WHERE platform = 'google'")
    assert parts(connection) == 14

    compact(connection, DAYS[0])

    assert parts(connection) == len(kept(connection)) == 2
    assert kept(connection) == added_up(connection)


def test_rows_that_are_copied_are_added_too(connection: psycopg.Connection) -> None:
    seed(connection)
    insert(connection, DAYS[0])
    keys = "tenant_id, campaign_space_id, platform, metric_date"
    columns = f"{keys}, {MEASURES}, bigquery_sync_id, synced_from_bigquery_at"
    with connection.cursor().copy(f"COPY campaign_metrics ({columns}) TO STDOUT".encode()) as copy:
        rows = b"".join(bytes(block) for block in copy).replace(str(DAYS[0]).encode(), str(DAYS[1]).encode())

    with connection.cursor().copy(f"COPY campaign_metrics ({columns}) FROM STDIN".encode()) as copy:
        copy.write(rows)

    assert kept(connection) == added_up(connection)
    assert {row[1] for row in kept(connection)} == {DAYS[0], DAYS[1]}


def test_the_migration_adds_up_the_rows_there_are(connection: psycopg.Connection, database_url: str) -> None:
    seed(connection)
    insert(connection, DAYS[0])
    insert(connection, DAYS[1], hour=3)
    migrate.downgrade(database_url, "0004")

    migrate.upgrade(database_url)

    assert kept(connection) == added_up(connection) != []


def test_sums_that_differ_are_rebuilt_as_the_documentation_says(connection: psycopg.Connection) -> None:
    seed(connection)
    for hour in (None, 0, 23):
        insert(connection, DAYS[0], hour=hour)
    connection.execute("UPDATE platform_days SET currency = NULL, clicks = clicks + 1")
    (statements,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "recovery.md").read_text(), re.DOTALL)

    connection.execute(statements.encode())

    assert kept(connection) == added_up(connection) != []
    assert dates_with_other_sums(connection, DAYS) == []


def test_sums_that_differ_are_found_by_their_date(connection: psycopg.Connection) -> None:
    seed(connection)
    for day in DAYS:
        insert(connection, day)
    assert dates_with_other_sums(connection, DAYS) == []

    connection.execute("UPDATE platform_days SET revenue = revenue - 1 WHERE metric_date = %s", [DAYS[1]])
    connection.execute("DELETE FROM platform_days WHERE metric_date = %s", [DAYS[2]])
    connection.execute("UPDATE platform_days SET currency = 'USD' WHERE metric_date = %s", [DAYS[3]])

    assert dates_with_other_sums(connection, DAYS) == DAYS[1:]
