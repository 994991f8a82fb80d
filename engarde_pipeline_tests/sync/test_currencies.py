"""Rule 13: amounts of different currencies are never added."""

from collections import defaultdict
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.bigquery.sums import sums_by_date as bigquery_sums
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.postgres.load.changes import CampaignChange
from engarde_pipeline.postgres.load.held_dates import DateHasGrown
from engarde_pipeline.postgres.reads.sums import sums_by_date as postgres_sums
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.postgres.totals.platform_days import dates_with_other_sums
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline.sync.sums import differing_sums
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, by_external_id, counted, row, versions
from engarde_pipeline_tests.world import World

DAYS = [DAY, NEXT_DAY]


@pytest.fixture
def source(world: World) -> World:
    """A world whose source tables have currencies."""
    world.create_source(currency="STRING")
    world.create_source(ASSET_METRICS, currency="STRING")
    return world


def _differing(world: World) -> list[object]:
    table = world.source.inspect(CAMPAIGN_METRICS)
    return [*differing_sums(world.source, table, world.connection, DAYS)]


def test_a_tenant_in_two_currencies_has_a_sum_of_each(source: World, tenant: UUID) -> None:
    rows = []
    for number in range(24):
        source.campaign(tenant, f"c{number}", "google" if number % 4 else "meta")
        for day in DAYS:
            # Some have several source rows, some change their currency overnight, some have none.
            currency = (None, "EUR", "USD")[(number + (day == NEXT_DAY and number < 5)) % 3]
            rows += [
                row(
                    tenant,
                    f"c{number}",
                    platform="google" if number % 4 else "meta",
                    metric_date=day,
                    currency=currency,
                    spend=(number + 1) / 7,
                    revenue=number * 3.3,
                    clicks=number,
                )
            ] * (1 + number % 2)
    expected: dict[tuple[object, ...], Decimal] = defaultdict(Decimal)
    for one in {(r["metric_date"], r["campaign_id"]): r for r in rows}.values():
        times = 1 + int(one["campaign_id"][1:]) % 2
        spend = (times * Decimal(repr(one["spend"]))).quantize(Decimal("0.000001"))
        expected[one["metric_date"], one["platform"], one["currency"]] += spend
    source.load(rows)

    outcomes = source.sync(*DAYS, growth_threshold=None)

    found = source.query(
        "SELECT metric_date, platform, currency, sum(spend) AS spend FROM platform_days GROUP BY 1, 2, 3"
    )
    assert {(r["metric_date"], r["platform"], r["currency"]): r["spend"] for r in found} == expected
    for outcome in outcomes:
        assert isinstance(outcome, SyncedDate)
        assert outcome.merged.counts.inserted == 24
        assert outcome.merged.spend == {
            currency or "": sum(
                spend for (day, _, of), spend in expected.items() if (day, of) == (outcome.day, currency)
            )
            for currency in (None, "EUR", "USD")
        }
    assert dates_with_other_sums(source.connection, DAYS) == []
    in_bigquery = bigquery_sums(source.source, source.source.inspect(CAMPAIGN_METRICS), *DAYS)
    assert in_bigquery == postgres_sums(source.connection, CAMPAIGN_METRICS, DAYS)
    assert in_bigquery.keys() == {(day, currency) for day in DAYS for currency in ("", "EUR", "USD")}

    before = versions(source)
    source.sync(*DAYS, growth_threshold=None)
    assert versions(source) == before


@pytest.mark.parametrize("other", ["USD", None, "eur", "E\0R"])
def test_a_record_whose_rows_disagree_is_rejected_and_its_money_is_not_added(
    source: World, tenant: UUID, campaign: UUID, other: str | None
) -> None:
    source.campaign(tenant, "good")
    good = row(tenant, "good", currency="USD", spend=0.5)
    source.load([good, row(tenant, currency="EUR", spend=7.0, clicks=1)])
    source.sync_one(DAY)
    mixed = [row(tenant, currency=currency, spend=1.0, revenue=2.0, clicks=3) for currency in ("EUR", other)]
    source.replace(DAY, [good, *mixed])

    synced = source.sync_one(DAY)

    assert counted(synced) == {"processed": 2, "unchanged": 1, "rejected": 1, "source_rows": 3}
    (rejected,) = source.rejected()
    assert (rejected["reason_code"], rejected["currency"]) == ("mixed_currency", None)
    assert rejected["keys"] == {
        "tenant_id": str(tenant),
        "campaign_id": "c1",
        "platform": "meta",
        "metric_hour": None,
    }
    assert (rejected["measures"]["spend"], rejected["measures"]["revenue"]) == (None, None)
    assert (rejected["measures"]["clicks"], rejected["measures"]["source_rows"]) == (6, 2)
    assert synced.merged.spend == {"EUR": Decimal(7), "USD": Decimal("0.5")}  # the row keeps its last good value
    assert _differing(source) == []

    source.replace(DAY, [good, *(one | {"currency": "EUR"} for one in mixed)])
    assert counted(source.sync_one(DAY))["updated"] == 1
    assert source.rejected() == []
    assert by_external_id(source, "spend") == {"c1": 2, "good": Decimal("0.5")}


def test_rejected_records_have_the_currency_of_the_source(source: World, tenant: UUID, campaign: UUID) -> None:
    source.load(
        [
            row(tenant, "unmapped", currency="EUR", spend=1.0),
            row(tenant, currency="dollars", spend=2.0),
            row(tenant, "neither", currency="yen\0", spend=3.0),
        ]
    )

    source.sync_one(DAY)

    assert {(r["keys"]["campaign_id"], r["reason_code"], r["currency"]) for r in source.rejected()} == {
        ("unmapped", "campaign_not_mapped", "EUR"),
        ("c1", "malformed_currency", "dollars"),
        ("neither", "campaign_not_mapped", "yen\\u0000"),
    }
    sums = postgres_sums(source.connection, CAMPAIGN_METRICS, [DAY])
    assert {key: found["spend"] for key, found in sums.items()} == {(DAY, "EUR"): 1, (DAY, "?"): 5}
    assert _differing(source) == []


@pytest.mark.parametrize("bad", [{"spend": float("nan")}, {"revenue": 1e33}, {"conversions": -1}])
def test_mixed_records_with_bad_numbers_are_the_same_on_both_sides(
    source: World, tenant: UUID, campaign: UUID, bad: dict[str, Any]
) -> None:
    source.load([row(tenant, currency="EUR", clicks=1, **bad), row(tenant, currency="USD", clicks=1)])

    source.sync_one(DAY)

    assert source.reasons() == ["mixed_currency"]
    assert _differing(source) == []


def test_a_sum_in_another_currency_is_a_difference(source: World, tenant: UUID, campaign: UUID) -> None:
    source.load([row(tenant, currency="EUR", spend=1.0)])
    source.sync_one(DAY)

    source.connection.execute("UPDATE campaign_metrics SET currency = 'USD'")

    assert len(_differing(source)) == 2


def test_a_column_that_the_source_gets_later_is_synced_and_its_loss_too(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    rows = [row(tenant, spend=1.0), row(tenant, metric_date=NEXT_DAY, spend=2.0)]
    world.load(rows)
    world.sync(*DAYS)
    assert [found["currency"] for found in world.rows()] == [None, None]

    world.create_source(currency="STRING")
    world.load([rows[0], rows[1] | {"currency": "EUR"}])
    first, second = world.sync(*DAYS)
    assert isinstance(first, SyncedDate)
    assert isinstance(second, SyncedDate)
    assert (first.merged.counts.unchanged, second.merged.counts.updated) == (1, 1)
    assert [found["currency"] for found in world.rows()] == [None, "EUR"]

    world.create_source()
    world.load(rows)
    world.sync(*DAYS)
    assert [found["currency"] for found in world.rows()] == [None, None]
    assert dates_with_other_sums(world.connection, DAYS) == []


def test_creatives_have_currencies_too(source: World, tenant: UUID, campaign: UUID) -> None:
    for name in ("a1", "a2", "a3"):
        source.asset(campaign, name)
    rows = [asset_row("a1", currency="EUR", spend=1.0), asset_row("a2", currency="USD", spend=2.0)]
    source.load([*rows, asset_row("a3", currency="EUR"), asset_row("a3", currency="USD")], ASSET_METRICS)

    synced = source.sync_one(DAY, table=ASSET_METRICS)

    assert {found["currency"]: found["spend"] for found in source.rows(ASSET_METRICS)} == {"EUR": 1, "USD": 2}
    assert source.reasons() == ["mixed_currency"]
    assert synced.merged.spend == {"EUR": 1, "USD": 2}


def test_a_dry_run_shows_a_campaign_in_its_old_and_its_new_currency(
    source: World, tenant: UUID, campaign: UUID
) -> None:
    source.load([row(tenant, currency="EUR", spend=1.0, revenue=4.0)])
    source.sync_one(DAY)
    source.replace(DAY, [row(tenant, currency="USD", spend=1.25, revenue=4.0)])

    (outcome,) = source.sync(DAY, dry_run=True)

    assert isinstance(outcome, SyncedDate)
    changes = outcome.merged.changes
    assert changes is not None
    assert outcome.merged.counts.updated == 1
    assert changes.spend_before == {"EUR": 1}
    assert outcome.merged.spend == {"USD": Decimal("1.25")}
    zero, spend = Decimal(0), Decimal("1.25")
    assert changes.largest == [
        CampaignChange("c1", "meta", "USD", zero, spend, zero, Decimal(4)),
        CampaignChange("c1", "meta", "EUR", Decimal(1), zero, Decimal(4), zero),
    ]


def test_the_growth_of_spend_is_that_of_each_currency(source: World, tenant: UUID) -> None:
    for number in range(40):
        source.campaign(tenant, f"c{number}")

    def rows(euros: float, dollars: float) -> list[dict[str, Any]]:
        return [
            row(
                tenant,
                f"c{n}",
                impressions=n,
                currency="USD" if n % 2 else "EUR",
                spend=dollars if n % 2 else euros,
            )
            for n in range(40)
        ]

    def sync() -> SyncedDate | FailedDate:
        (outcome,) = source.sync(DAY, versions={DAY: uuid4().hex})
        return outcome

    source.load(rows(1000.0, 1.0))
    assert isinstance(sync(), SyncedDate)

    source.replace(DAY, rows(1000.0, 3.0))
    outcome = sync()
    assert isinstance(outcome, FailedDate)
    assert isinstance(outcome.error, DateHasGrown)
    assert "spend USD 20.000000 -> 60.000000 (3 times)" in str(outcome.error)

    source.replace(DAY, [one | {"currency": "JPY"} for one in rows(160_000.0, 160.0)])  # no comparison is possible
    assert isinstance(sync(), SyncedDate)


# What version 0.1.0 does with a date that has changed: it knows no currencies.
_OLDER_VERSION = """
WITH parts AS (DELETE FROM platform_days RETURNING *)
INSERT INTO platform_days
    (tenant_id, metric_date, platform, row_count, impressions, clicks, spend, conversions, revenue)
SELECT tenant_id, metric_date, platform, sum(row_count),
       sum(impressions), sum(clicks), sum(spend), sum(conversions), sum(revenue)
FROM parts
GROUP BY tenant_id, metric_date, platform;
UPDATE campaign_space_months SET min_currency = '', max_currency = '';
UPDATE synced_dates SET run_id = gen_random_uuid(), version = 'of the older version';
"""


def test_sums_that_an_older_version_has_written_during_an_upgrade_are_put_right(
    source: World, tenant: UUID, campaign: UUID
) -> None:
    source.campaign(tenant, "c2")
    source.load([row(tenant, name, currency=of, spend=2.0) for name, of in (("c1", "EUR"), ("c2", "USD"))])
    source.sync_one(DAY, versions={DAY: "1"})
    update_totals(source.connection)
    source.connection.execute(_OLDER_VERSION)
    assert dates_with_other_sums(source.connection, DAYS) == [DAY]

    synced = source.sync_one(DAY, versions={DAY: "1"})

    assert counted(synced) == {"processed": 2, "unchanged": 2, "source_rows": 2}
    assert dates_with_other_sums(source.connection, DAYS) == []
    update_totals(source.connection)
    months = source.query("SELECT min_currency, max_currency FROM campaign_space_months ORDER BY 1")
    assert months == [{"min_currency": of, "max_currency": of} for of in ("EUR", "USD")]

    before = _but_when_compared(source)
    source.sync_one(DAY, versions={DAY: "1"})
    assert _but_when_compared(source) == before


def _but_when_compared(source: World) -> dict[str, list[dict[str, Any]]]:
    """Return all rows with their physical versions, but that each sync notes when it compared a date."""
    written = ("xmin", "ctid", "compared_at")
    rows = source.everything()
    rows["synced_dates"] = [
        {name: value for name, value in row.items() if name not in written} for row in rows["synced_dates"]
    ]
    return rows
