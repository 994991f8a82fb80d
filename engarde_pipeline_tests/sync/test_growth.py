"""Rule 12: a date does not silently double."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.core.date_states import DateFacts
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.postgres.load.held_dates import DateHasGrown, DateHeld, DateIsRepeated
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, row, versions
from engarde_pipeline_tests.world import World

NUMBERS = range(60)
"""Campaigns: the first twenty are on google, the others on meta."""

Rows = list[dict[str, Any]]


@pytest.fixture
def mapped(world: World, tenant: UUID) -> UUID:
    """A tenant with a campaign for each of NUMBERS."""
    for number in NUMBERS:
        world.campaign(tenant, f"c{number}", _platform(number))
    return tenant


def _platform(number: int) -> str:
    return "google" if number < 20 else "meta"


def _rows(tenant: UUID | str, numbers: Iterable[int] = NUMBERS, **values: Any) -> Rows:
    """A row for each campaign, no two of which are alike."""
    return [
        row(
            tenant,
            f"c{number}",
            platform=_platform(number),
            **{"impressions": 100 + number, "clicks": 10 + number, "spend": 1.25 * (number + 1), **values},
        )
        for number in numbers
    ]


def _sync(world: World, growth_threshold: float | None = 2, **options: Any) -> SyncedDate | FailedDate:
    """Sync DAY as a sensor does, which knows the version of its partition."""
    (outcome,) = world.sync(DAY, growth_threshold=growth_threshold, versions={DAY: uuid4().hex}, **options)
    return outcome


def _refusal(outcome: SyncedDate | FailedDate, kind: type[DateHeld]) -> str:
    assert isinstance(outcome, FailedDate), outcome
    assert isinstance(outcome.error, kind)
    return str(outcome.error)


@pytest.mark.parametrize("times", [2, 3])
def test_a_first_load_that_ran_more_than_once_is_held_and_writes_nothing(
    world: World, mapped: UUID, times: int
) -> None:
    world.load(_rows(mapped) * times)

    says = _refusal(_sync(world), DateIsRepeated)

    rows = 60 * times
    for part in (f"{rows} of the {rows} source rows occur {times} times each", "campaign c", "allow_growth"):
        assert part in says
    assert world.rows() == []


def test_a_restated_load_that_ran_twice_is_held_and_keeps_the_rows(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    _sync(world)
    before = versions(world)
    world.replace(DAY, _rows(mapped, clicks=7) * 2)

    _refusal(_sync(world), DateIsRepeated)

    assert versions(world) == before


@pytest.mark.parametrize(("repeated", "is_held"), [(38, True), (37, False)])
def test_nineteen_of_twenty_rows_must_be_repeated(
    world: World, mapped: UUID, repeated: int, is_held: bool
) -> None:
    twice, once = range(20, 20 + repeated), range(20 + repeated, 60)
    world.load([*_rows(mapped, twice) * 2, *_rows(mapped, once, clicks=1), *_rows(mapped, once, clicks=2)])

    assert isinstance(_sync(world), FailedDate) is is_held


@pytest.mark.parametrize(("campaigns", "is_held"), [(10, True), (9, False)])
def test_twenty_rows_with_numbers_are_the_fewest_that_are_held(
    world: World, mapped: UUID, campaigns: int, is_held: bool
) -> None:
    nothing = {"impressions": 0, "clicks": 0, "spend": 0.0}
    world.load(_rows(mapped, range(campaigns)) * 2 + _rows(mapped, range(30, 50), **nothing))

    assert isinstance(_sync(world), FailedDate) is is_held


def test_rows_of_ad_sets_that_differ_in_one_column_are_not_repeated(world: World, mapped: UUID) -> None:
    world.load([*_rows(mapped), *_rows(mapped, revenue=0.000001)])

    assert isinstance(_sync(world), SyncedDate)


def test_one_platform_that_was_loaded_twice_is_held(world: World, mapped: UUID) -> None:
    world.load([*_rows(mapped), *_rows(mapped, range(20))])

    assert "40 of google's 40 source rows" in _refusal(_sync(world), DateIsRepeated)


def test_one_tenant_that_was_loaded_twice_is_held(world: World, mapped: UUID) -> None:
    other = world.tenant("Other")
    for number in NUMBERS:
        world.campaign(other, f"c{number}", _platform(number))
    world.load([*_rows(mapped) * 2, *_rows(other, clicks=3)])

    assert f"120 of tenant {mapped}'s 120 source rows" in _refusal(_sync(world), DateIsRepeated)


def test_a_campaign_with_many_equal_ad_sets_is_not_taken_for_a_repeated_platform(
    world: World, mapped: UUID
) -> None:
    world.load([*_rows(mapped, range(20, 60)), *_rows(mapped, [0]) * 30])

    assert isinstance(_sync(world), SyncedDate)


def test_repeated_assets_are_held_too(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    world.load([asset_row(f"a{number}", impressions=number + 1) for number in NUMBERS] * 2, ASSET_METRICS)

    (outcome,) = world.sync(DAY, table=ASSET_METRICS)

    assert "campaign_asset_metrics" in _refusal(outcome, DateIsRepeated)


def test_a_slice_of_a_repeated_date_is_refused_and_holds_no_date(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped) * 2)

    _refusal(_sync(world, scope=Scope(tenant_id=mapped)), DateIsRepeated)

    assert _held(world) == []


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({"impressions": 1000}, "impressions 7,770 -> 60,000 (7.72 times)"),
        ({"spend": 1000.0}, "spend 2,287.5"),
    ],
)
def test_a_complete_date_that_has_grown_is_held(
    world: World, mapped: UUID, now: dict[str, Any], says: str
) -> None:
    world.load(_rows(mapped))
    _sync(world)
    before = versions(world)
    world.replace(DAY, _rows(mapped, **now))

    evidence = _refusal(_sync(world), DateHasGrown)

    for part in (says, "ENGARDE_GROWTH_THRESHOLD", "--allow-growth"):
        assert part in evidence
    assert versions(world) == before


def test_source_rows_that_multiply_are_growth_even_if_each_differs(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    _sync(world)
    more = [each for part in range(1, 4) for each in _rows(mapped, impressions=part, spend=0.01, revenue=part)]
    world.replace(DAY, more)

    assert "source rows 60 -> 180 (3 times)" in _refusal(_sync(world), DateHasGrown)


def test_up_to_the_threshold_a_date_may_grow(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped, impressions=100))
    _sync(world)
    world.replace(DAY, _rows(mapped, impressions=200))

    assert isinstance(_sync(world), SyncedDate)


def test_a_mapping_that_arrives_is_no_growth(world: World, mapped: UUID) -> None:
    world.load([*_rows(mapped, range(20)), *[row(mapped, f"new{n}", impressions=100 + n) for n in range(200)]])
    _sync(world)
    for number in range(200):
        world.campaign(mapped, f"new{number}")

    assert isinstance(_sync(world), SyncedDate)
    assert len(world.rows()) == 220


def test_a_record_that_is_no_number_hides_no_growth_and_is_none(world: World, mapped: UUID) -> None:
    world.load([*_rows(mapped), row(mapped, "c1", platform="meta", spend=float("nan"))])
    _sync(world)
    assert isinstance(_sync(world), SyncedDate)
    world.replace(DAY, [*_rows(mapped, spend=900.0), row(mapped, "c1", platform="meta", spend=float("inf"))])

    _refusal(_sync(world), DateHasGrown)


def test_a_date_that_was_not_complete_may_grow(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    _sync(world)
    world.connection.execute("UPDATE synced_dates SET synced_at = metric_date + interval '47 hours'")
    world.replace(DAY, _rows(mapped, impressions=1000))

    assert isinstance(_sync(world), SyncedDate)


def test_a_sync_without_changes_makes_a_date_complete(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    world.sync(DAY, versions={DAY: "v"})
    world.connection.execute("UPDATE synced_dates SET synced_at = metric_date + interval '47 hours'")
    world.sync(DAY, versions={DAY: "v"})
    world.replace(DAY, _rows(mapped, impressions=1000))

    _refusal(_sync(world), DateHasGrown)


def test_allowed_growth_lands_and_is_what_the_next_load_is_compared_with(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    _sync(world)
    world.replace(DAY, _rows(mapped, impressions=1000) * 2)
    assert isinstance(_sync(world), FailedDate)

    assert isinstance(_sync(world, growth_threshold=None), SyncedDate)

    world.replace(DAY, _rows(mapped, impressions=1500))
    assert isinstance(_sync(world), SyncedDate)


def _held(world: World) -> list[DateFacts]:
    return [each for each in read_date_facts(world.connection, []) if each.held]


def test_a_held_date_stops_no_other_and_is_listed_until_it_is_synced(world: World, mapped: UUID) -> None:
    run = uuid4()
    world.load(_rows(mapped) * 2)
    world.load(_rows(mapped, metric_date=NEXT_DAY))

    held, landed = world.sync(DAY, NEXT_DAY, run_id=run)

    assert isinstance(landed, SyncedDate)
    (listed,) = _held(world)
    assert (listed.table, listed.day) == (CAMPAIGN_METRICS, DAY)
    assert (listed.held, listed.held_by) == (_refusal(held, DateIsRepeated), run)
    assert [row["reason"] for row in world.query("SELECT reason FROM held_dates")] == ["repeated"]
    world.sync_one(DAY, growth_threshold=None)
    assert _held(world) == []


def test_a_date_that_would_shrink_is_listed_too(world: World, mapped: UUID) -> None:
    world.load(_rows(mapped))
    world.sync_one(DAY)
    world.replace(DAY, [])

    assert isinstance(_sync(world), FailedDate)

    assert [row["reason"] for row in world.query("SELECT reason FROM held_dates")] == ["would_shrink"]
