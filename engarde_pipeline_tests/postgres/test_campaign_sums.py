"""The sums per campaign space and month and over all dates, and the totals that are written from them."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.totals.campaign_totals import Totals, update_totals, wrong_totals
from engarde_pipeline.postgres.totals.changed_dates import note_changed

DAYS = [date(2025, 11, 30), date(2025, 12, 1), date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 2)]
MEASURES = CAMPAIGN_METRICS.measure_names
MONEY = ("spend", "revenue")
LARGE = 2**40

_INSERT = """
INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, impressions, clicks, spend,
    conversions, revenue, currency, bigquery_sync_id, synced_from_bigquery_at)
SELECT tenant_id, id, 'meta', %(day)s, %(count)s, %(count)s / 3, %(count)s * 0.000001, 0.5, %(count)s * 1.01,
    %(currency)s, gen_random_uuid(), now()
FROM campaign_spaces
WHERE id = ANY(%(campaigns)s)
ON CONFLICT (campaign_space_id, metric_date, metric_hour) DO UPDATE
SET impressions = excluded.impressions, clicks = excluded.clicks, spend = excluded.spend,
    revenue = excluded.revenue, currency = excluded.currency
"""
_DELETE = "DELETE FROM campaign_metrics WHERE metric_date = %(day)s AND campaign_space_id = ANY(%(campaigns)s)"
_DELETE_CAMPAIGN = "DELETE FROM campaign_spaces WHERE id = %(campaign)s"

# What else happens to the tables of sums and totals; none of it is noted.
_ELSE: tuple[LiteralString, ...] = (
    "UPDATE campaign_spaces SET total_clicks = 5, total_spend = NULL, avg_ctr = 7",
    "UPDATE campaign_space_months SET spend = spend + 1 WHERE false",
    "DELETE FROM campaign_space_sums",
    "INSERT INTO campaign_spaces (tenant_id, name, platform) SELECT id, 'New', 'meta' FROM tenants",
)


@pytest.fixture
def campaigns(connection: psycopg.Connection) -> list[UUID]:
    """Four campaign spaces of a tenant."""
    connection.execute("INSERT INTO tenants (name) VALUES ('Acme')")
    connection.execute(
        "INSERT INTO campaign_spaces (tenant_id, name, platform)"
        " SELECT id, n::text, 'meta' FROM tenants, generate_series(1, 4) n"
    )
    return [row[0] for row in connection.execute("SELECT id FROM campaign_spaces ORDER BY name")]


def insert(
    connection: psycopg.Connection, day: date, campaigns: list[UUID], count: int = 7, currency: str | None = "EUR"
) -> None:
    """Write a row of `day` for each campaign, as a merge does."""
    with connection.transaction():
        connection.execute(_INSERT, {"day": day, "campaigns": campaigns, "count": count, "currency": currency})
        note_changed(connection, day)


def delete(connection: psycopg.Connection, day: date, campaigns: list[UUID]) -> None:
    """Delete the rows of `day`, as a merge does."""
    with connection.transaction():
        connection.execute(_DELETE, {"day": day, "campaigns": campaigns})
        note_changed(connection, day)


def totals(connection: psycopg.Connection) -> dict[UUID, dict[str, Decimal | None]]:
    """Return what is written on the campaign spaces."""
    columns = ", ".join(f"total_{name}" for name in MEASURES)
    rows = connection.execute(f"SELECT id, {columns} FROM campaign_spaces".encode())
    return {campaign: dict(zip(MEASURES, values, strict=True)) for campaign, *values in rows}


def added_up(connection: psycopg.Connection) -> dict[UUID, dict[str, Decimal | None]]:
    """Add up the rows of every campaign space, one by one."""
    sums: dict[UUID, dict[str, Decimal | None]]
    sums = {
        row[0]: dict.fromkeys(MEASURES, Decimal(0)) for row in connection.execute("SELECT id FROM campaign_spaces")
    }
    currencies: dict[UUID, set[str | None]] = {campaign: set() for campaign in sums}
    columns = ", ".join(MEASURES)
    for campaign, currency, *values in connection.execute(
        f"SELECT campaign_space_id, currency, {columns} FROM campaign_metrics".encode()
    ):
        currencies[campaign].add(currency)
        for name, value in zip(MEASURES, values, strict=True):
            sums[campaign][name] = (sums[campaign][name] or 0) + value
    for campaign, found in currencies.items():
        if len(found) > 1:
            sums[campaign] |= dict.fromkeys(MONEY)
    return sums


def sums(connection: psycopg.Connection, table: LiteralString = "campaign_space_sums") -> list[tuple[Any, ...]]:
    """Return the sums of each campaign space that has rows in a table of sums."""
    columns = ", ".join(f"sum({name})" for name in MEASURES)
    ranges = 'min(min_currency COLLATE "C"), max(max_currency COLLATE "C")'
    return connection.execute(
        f"SELECT campaign_space_id, {columns}, {ranges} FROM {table} GROUP BY 1 ORDER BY 1".encode()
    ).fetchall()


@pytest.mark.parametrize("number", range(6))
def test_after_any_changes_the_totals_are_the_sums_of_the_rows(
    connection: psycopg.Connection, campaigns: list[UUID], number: int
) -> None:
    chance = random.Random(number)  # noqa: S311  it invents changes
    for _ in range(20):
        for _ in range(chance.choice([0, 1, 1, 2, 5])):
            day, chosen = chance.choice(DAYS), chance.sample(campaigns, chance.randint(1, len(campaigns)))
            if chance.random() < 0.7:
                count = chance.choice([0, 1, 7, 10**6, LARGE])
                insert(connection, day, chosen, count, chance.choice(["EUR", "EUR", "EUR", "USD", None]))
            else:
                delete(connection, day, chosen)
        if chance.random() < 0.2:
            connection.execute(chance.choice(_ELSE))
        if chance.random() < 0.05 and len(campaigns) > 2:
            connection.execute(_DELETE_CAMPAIGN, {"campaign": campaigns.pop()})

        update_totals(connection)

        assert totals(connection) == added_up(connection)
        assert wrong_totals(connection).affected == 0
        assert sums(connection) == sums(connection, "campaign_space_months")


def test_the_difference_of_the_changed_month_is_added(
    connection: psycopg.Connection, campaigns: list[UUID]
) -> None:
    for day in DAYS:
        insert(connection, day, campaigns)
    update_totals(connection)
    # Wrong on purpose: the sums are not computed from all months.
    connection.execute("UPDATE campaign_space_sums SET impressions = impressions + 100")

    insert(connection, DAYS[0], campaigns[:1], count=8)
    update_totals(connection)

    found = [totals(connection)[campaign]["impressions"] for campaign in campaigns]
    assert found == [5 * 7 + 1 + 100, *[5 * 7 + 100] * 3]


def test_sums_that_are_wrong_are_corrected_when_no_date_has_changed(
    connection: psycopg.Connection, campaigns: list[UUID]
) -> None:
    insert(connection, DAYS[0], campaigns)
    update_totals(connection)
    connection.execute("UPDATE campaign_space_sums SET impressions = 1, max_currency = 'USD'")

    assert update_totals(connection) == Totals(4, 0)

    assert sums(connection) == sums(connection, "campaign_space_months")


def test_a_total_that_the_application_overwrites_is_corrected_although_other_dates_change(
    connection: psycopg.Connection, campaigns: list[UUID]
) -> None:
    insert(connection, DAYS[0], campaigns)
    update_totals(connection)
    connection.execute("UPDATE campaign_spaces SET total_clicks = 77 WHERE id = %s", [campaigns[0]])

    insert(connection, DAYS[4], campaigns[1:2])

    assert update_totals(connection) == Totals(4, 2)
    assert totals(connection) == added_up(connection)


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE campaign_space_months SET clicks = clicks + 100",
        "DELETE FROM campaign_space_months WHERE month = '2025-11-01'",
        "TRUNCATE campaign_space_months",
    ],
)
def test_months_that_something_else_writes_are_not_taken_for_what_was_added(
    connection: psycopg.Connection, campaigns: list[UUID], write: LiteralString
) -> None:
    for day in DAYS:
        insert(connection, day, campaigns)
    update_totals(connection)

    connection.execute(write)

    assert sums(connection) == []
    # As the version before does: it sums the months of noted dates again and knows no other sums.
    for day in DAYS:
        note_changed(connection, day)
    update_totals(connection)
    assert totals(connection) == added_up(connection)


def test_equal_sums_are_not_written_again(connection: psycopg.Connection, campaigns: list[UUID]) -> None:
    def versions() -> list[tuple[Any, ...]]:
        return [
            row
            for table in (b"campaign_space_months", b"campaign_space_sums")
            for row in connection.execute(b"SELECT campaign_space_id, xmin::text, ctid::text FROM " + table)
        ]

    for day in DAYS:
        insert(connection, day, campaigns)
    update_totals(connection)
    before = versions()

    for day in DAYS:
        note_changed(connection, day)
    update_totals(connection)
    update_totals(connection)

    assert versions() == before


def test_more_months_than_one_statement_sums_are_all_summed(
    connection: psycopg.Connection, campaigns: list[UUID]
) -> None:
    days = [date(2020 + n // 12, n % 12 + 1, 28) for n in range(30)]
    for n, day in enumerate(days):
        insert(connection, day, campaigns, count=2**n)

    update_totals(connection)

    assert {found["impressions"] for found in totals(connection).values()} == {2**30 - 1}
    insert(connection, days[0], campaigns, count=0)
    update_totals(connection)
    assert {found["impressions"] for found in totals(connection).values()} == {2**30 - 2}


def test_totals_are_exact_while_others_write(
    connection: psycopg.Connection, database_url: str, campaigns: list[UUID]
) -> None:
    def write(number: int) -> None:
        chance = random.Random(number)  # noqa: S311  it invents changes
        with connect(database_url) as own:
            for _ in range(40):  # dates of its own: a date has one writer (rule 7)
                insert(own, chance.choice(DAYS[number::2]), campaigns, chance.randint(0, LARGE))

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(write, number) for number in range(2)]
        while not all(each.done() for each in writing):
            update_totals(connection)
        for each in writing:
            each.result()
    update_totals(connection)

    assert totals(connection) == added_up(connection)
    assert sums(connection) == sums(connection, "campaign_space_months")
