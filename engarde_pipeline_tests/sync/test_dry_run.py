"""Rule 16: a dry run says what a sync does, and writes nothing."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.changes import CampaignChange
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, row
from engarde_pipeline_tests.world import World

ALLOWED: dict[str, Any] = {"shrink_threshold": None, "growth_threshold": None}


def _says(outcome: SyncedDate | FailedDate) -> object:
    """Return everything that a dry run and a sync both say about a date."""
    if isinstance(outcome, FailedDate):
        return outcome.day, type(outcome.error), str(outcome.error)
    return outcome.day, replace(outcome.merged, changes=None), outcome.method, outcome.bytes_read


def _dry_then_real(world: World, *days: date, **options: Any) -> list[SyncedDate | FailedDate]:
    """Run dry, check that nothing was written and that a sync does the same; return what the dry run said."""
    before = world.everything()
    dry = world.sync(*days, dry_run=True, **options)
    assert world.everything() == before

    real = world.sync(*days, **options)

    assert [_says(outcome) for outcome in dry] == [_says(outcome) for outcome in real]
    for of_dry, of_real in zip(dry, real, strict=True):
        if isinstance(of_real, SyncedDate) and of_real.merged.changes:  # a first load has none
            assert isinstance(of_dry, SyncedDate)
            assert of_dry.merged.changes == of_real.merged.changes
    return dry


def _sums(world: World, table: MetricTable, day: date) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    (sums,) = world.query(
        "SELECT coalesce(sum(spend), 0) AS spend, coalesce(sum(revenue), 0) AS revenue"
        f" FROM {table.target} WHERE metric_date = %s",
        [day],
    )
    return {"": sums["spend"]}, {"": sums["revenue"]}


@pytest.fixture
def restated(world: World, tenant: UUID, campaign: UUID) -> World:
    """Two synced dates; since then, BigQuery has new, changed, removed and bad records for the first."""
    gone, later = world.campaign(tenant, "gone"), world.campaign(tenant, "later")
    assert gone != later
    loaded = [
        row(tenant, spend=10.0, revenue=40.0),
        row(tenant, "gone", spend=2.5, revenue=5.0),
        row(tenant, "unmapped", spend=7.0),
        row(tenant, metric_date=NEXT_DAY, spend=1.0),
    ]
    world.load(loaded)
    world.sync(DAY, NEXT_DAY, versions={DAY: "1", NEXT_DAY: "1"})
    world.replace(
        DAY,
        [
            row(tenant, spend=8.0, revenue=41.0),
            row(tenant, "later", spend=30.25, revenue=1.0),
            row(tenant, "unmapped", spend=9.0),
            row("Acme", spend=1.0),
        ],
    )
    return world


def test_it_says_what_a_sync_does_and_writes_nothing(restated: World) -> None:
    before = _sums(restated, CAMPAIGN_METRICS, DAY)

    first, second = _dry_then_real(restated, DAY, NEXT_DAY, versions={DAY: "2", NEXT_DAY: "2"})

    assert isinstance(first, SyncedDate)
    changes = first.merged.changes
    assert changes is not None
    counts = {name: count for name, count in vars(first.merged.counts).items() if count}
    assert counts == {"processed": 4, "inserted": 1, "updated": 1, "rejected": 2, "deleted": 1, "source_rows": 4}
    assert (changes.spend_before, changes.revenue_before) == before == ({"": Decimal("12.5")}, {"": Decimal(45)})
    assert (first.merged.spend, first.merged.revenue) == _sums(restated, CAMPAIGN_METRICS, DAY)
    assert changes.largest == [
        CampaignChange("later", "meta", "", Decimal(0), Decimal("30.25"), Decimal(0), Decimal(1)),
        CampaignChange("gone", "meta", "", Decimal("2.5"), Decimal(0), Decimal(5), Decimal(0)),
        CampaignChange("c1", "meta", "", Decimal(10), Decimal(8), Decimal(40), Decimal(41)),
    ]
    assert [record.reason_code for record in first.merged.rejected] == ["campaign_not_mapped", "malformed_tenant"]
    assert isinstance(second, SyncedDate)
    assert second.merged.changes is not None
    assert second.merged.changes.largest == []


def test_a_first_load_leaves_nothing_behind(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, spend=1.0), row(tenant, "unmapped", spend=7.0)])

    (outcome,) = _dry_then_real(world, DAY, versions={DAY: "1"})

    assert isinstance(outcome, SyncedDate)
    assert outcome.merged.counts.inserted == 1
    assert outcome.merged.rejected_spend == {"": Decimal(7)}


def test_only_the_ten_largest_changes_are_returned(world: World, tenant: UUID) -> None:
    for number in range(12):
        world.campaign(tenant, f"c{number}")
    world.load([row(tenant, f"c{number}", spend=float(number), clicks=1) for number in range(12)])

    (outcome,) = world.sync(DAY, dry_run=True)

    assert isinstance(outcome, SyncedDate)
    assert outcome.merged.changes is not None
    assert [change.campaign for change in outcome.merged.changes.largest] == [f"c{n}" for n in range(11, 1, -1)]


def test_hours_and_creatives_are_summed_by_campaign(world: World, tenant: UUID, campaign: UUID) -> None:
    world.asset(campaign, "a1")
    world.asset(campaign, "a2")
    world.create_source(metric_hour="INT64")
    world.load([row(tenant, spend=1.0, metric_hour=hour) for hour in (0, 1, 2)])
    world.load([asset_row("a1", spend=1.5), asset_row("a2", spend=0.5)], ASSET_METRICS)

    for table, spend in ((CAMPAIGN_METRICS, Decimal(3)), (ASSET_METRICS, Decimal(2))):
        (outcome,) = _dry_then_real(world, DAY, table=table)
        assert isinstance(outcome, SyncedDate)
        assert outcome.merged.changes is not None
        (change,) = outcome.merged.changes.largest
        assert (change.campaign, change.spend_before, change.spend_after) == ("c1", Decimal(0), spend)


def test_a_date_that_would_shrink_is_shown_as_held_and_is_not_held(restated: World) -> None:
    restated.replace(DAY, [])

    (outcome,) = _dry_then_real(restated, DAY)

    assert isinstance(outcome, FailedDate)
    assert "allow_shrink" in str(outcome.error)


def test_a_repeated_date_is_shown_as_held_and_a_held_date_stays_held(world: World, tenant: UUID) -> None:
    for number in range(30):
        world.campaign(tenant, f"c{number}")
    world.load([row(tenant, f"c{number}", clicks=1 + number) for number in range(30)] * 2)

    (outcome,) = _dry_then_real(world, DAY)
    assert isinstance(outcome, FailedDate)
    assert "occur 2 times each" in str(outcome.error)

    (outcome,) = _dry_then_real(world, DAY, **ALLOWED)  # compares that the dry run did not release it
    assert isinstance(outcome, SyncedDate)
    assert world.query("SELECT * FROM held_dates") == []


def test_a_slice(restated: World, tenant: UUID, campaign: UUID) -> None:
    other = restated.campaign(restated.tenant("Other"), "c1")
    assert other
    scope = Scope(tenant, None, (campaign,), ("c1",))

    first, _ = _dry_then_real(restated, DAY, NEXT_DAY, scope=scope)

    assert isinstance(first, SyncedDate)
    assert first.merged.changes is not None
    assert (first.merged.changes.spend_before, first.merged.spend) == ({"": Decimal(10)}, {"": Decimal(8)})


def test_keys_that_lead_to_another_campaign_are_not_noted(restated: World, tenant: UUID, campaign: UUID) -> None:
    # Its rows move to a new campaign, which a sync notes in `source_keys` and `removed_rows`.
    rename = "UPDATE campaign_spaces SET external_campaign_id = 'old' WHERE id = %s"
    restated.connection.execute(rename, [campaign])
    restated.campaign(tenant, "c1")

    first, _ = _dry_then_real(restated, DAY, NEXT_DAY, **ALLOWED)

    assert isinstance(first, SyncedDate)
    assert first.merged.counts.inserted == 2


def test_a_constraint_that_is_checked_at_the_commit_is_checked(world: World, tenant: UUID, campaign: UUID) -> None:
    world.connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'not on a Sunday' USING ERRCODE = 'check_violation'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON campaign_metrics
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    world.load([row(tenant)])

    (outcome,) = world.sync(DAY, dry_run=True)

    assert isinstance(outcome, FailedDate)
    assert isinstance(outcome.error, psycopg.errors.CheckViolation)


def test_one_that_is_abandoned_halfway_leaves_nothing_behind(restated: World) -> None:
    before = restated.everything()
    with connect(restated.database_url) as connection:
        options = LoadOptions(uuid4(), None, None, dry_run=True)
        outcomes = sync_dates(CAMPAIGN_METRICS, [DAY, NEXT_DAY], restated.source, connection, options)
        next(outcomes)
        outcomes.close()
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE

    assert restated.everything() == before
    assert isinstance(restated.sync_one(DAY, **ALLOWED), SyncedDate)  # its lock is released
