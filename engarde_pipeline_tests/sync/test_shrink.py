"""Rule 5: a date does not silently shrink."""

from uuid import UUID

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.load.held_dates import DateWouldShrink
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, counted, row, versions
from engarde_pipeline_tests.world import World


@pytest.fixture
def ten(world: World, tenant: UUID) -> list[str]:
    """Ten campaigns with a row each on DAY, synced."""
    names = [f"c{n}" for n in range(10)]
    for name in names:
        world.campaign(tenant, name)
    world.load([row(tenant, name) for name in names])
    world.sync_one(DAY)
    return names


def refusal(world: World, shrink_threshold: float | None = 0.5) -> str | None:
    """Sync DAY; return what the refusal says, or None where it landed."""
    (outcome,) = world.sync(DAY, shrink_threshold=shrink_threshold)
    if isinstance(outcome, SyncedDate):
        return None
    assert isinstance(outcome.error, DateWouldShrink)
    return str(outcome.error)


@pytest.mark.parametrize("left", [0, 1, 4])
def test_an_empty_or_far_smaller_answer_is_refused_and_changes_nothing(
    world: World, tenant: UUID, ten: list[str], left: int
) -> None:
    before = versions(world)
    world.replace(DAY, [row(tenant, name, clicks=1) for name in ten[:left]])

    message = refusal(world)

    assert message is not None
    records = "1 record" if left == 1 else f"{left} records"
    numbers = f"BigQuery has {records} where Postgres has 10 rows; {left} would be left"
    for part in (f"campaign_metrics {DAY}", numbers, "50%", "allow_shrink"):
        assert part in message
    assert versions(world) == before
    assert world.rejected() == []


@pytest.mark.parametrize(
    ("left", "threshold", "lands"),
    [
        (5, 0.5, True),
        (4, 0.5, False),
        (9, 0.9, True),
        (8, 0.9, False),
        (9, 1.0, False),
        (10, 1.0, True),
        (1, 0.0, True),
        (0, 0.0, False),
        (0, None, True),
        (1, None, True),
    ],
)
def test_the_threshold_is_the_least_share_that_must_be_left(
    world: World, tenant: UUID, ten: list[str], left: int, threshold: float | None, lands: bool
) -> None:
    world.replace(DAY, [row(tenant, name) for name in ten[:left]])

    assert (refusal(world, threshold) is None) == lands
    assert len(world.rows()) == (left if lands else 10)


def test_shrinking_on_purpose_deletes_the_rows(world: World, ten: list[str]) -> None:
    world.replace(DAY, [])

    assert counted(world.sync_one(DAY, shrink_threshold=None)) == {"deleted": 10}
    assert world.rows() == []


def test_a_refused_date_stops_no_other(world: World, tenant: UUID, ten: list[str]) -> None:
    world.replace(DAY, [])
    world.load([row(tenant, metric_date=NEXT_DAY)])

    refused, landed = world.sync(DAY, NEXT_DAY)

    assert isinstance(refused, FailedDate)
    assert isinstance(landed, SyncedDate)
    assert {loaded["metric_date"] for loaded in world.rows()} == {DAY, NEXT_DAY}


def test_records_count_and_not_their_source_rows(world: World, tenant: UUID, ten: list[str]) -> None:
    world.replace(DAY, [row(tenant, "c0")] * 10)

    assert refusal(world) is not None


def test_a_date_that_only_grows_lands(world: World, tenant: UUID, ten: list[str]) -> None:
    world.campaign(tenant, "c10")
    world.load([row(tenant, "c10")])

    assert refusal(world, 1.0) is None


def test_records_that_turned_bad_keep_their_rows_and_so_shrink_nothing(
    world: World, tenant: UUID, ten: list[str]
) -> None:
    before = versions(world)
    world.replace(DAY, [row(tenant, name, clicks=-1) for name in ten])

    assert refusal(world, 1.0) is None
    assert versions(world) == before


@pytest.mark.parametrize("prefix", ["act_", None])
def test_a_date_whose_campaign_ids_were_broken_upstream_is_refused(
    world: World, tenant: UUID, ten: list[str], prefix: str | None
) -> None:
    before = versions(world)
    world.replace(DAY, [row(tenant, prefix and prefix + name) for name in ten])

    message = refusal(world)

    assert message is not None
    assert "cannot be loaded) where Postgres has 10 rows; 0 would be left" in message
    assert versions(world) == before


def test_a_slice_is_measured_by_its_own_rows(world: World, tenant: UUID, ten: list[str]) -> None:
    other = world.tenant("Globex")
    world.campaign(other, "c1")
    world.load([row(other, "c1")])
    world.sync_one(DAY)
    before = versions(world)
    world.replace(DAY, [row(tenant, name) for name in ten])

    (outcome,) = world.sync(DAY, scope=Scope(tenant_id=other))

    assert isinstance(outcome, FailedDate)
    assert "0 records where Postgres has 1 row;" in str(outcome.error)
    assert versions(world) == before


def test_an_empty_answer_about_assets_is_refused(world: World, asset: UUID) -> None:
    world.load([asset_row()], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    world.replace(DAY, [], ASSET_METRICS)

    (outcome,) = world.sync(DAY, table=ASSET_METRICS)

    assert isinstance(outcome, FailedDate)
    assert "campaign_asset_metrics" in str(outcome.error)
    assert len(world.rows(ASSET_METRICS)) == 1
