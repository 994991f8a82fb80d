"""Several writers at once: every date lands once, one that fails stops no other, and nothing is left behind."""

import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from datetime import date, timedelta
from itertools import chain
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.bigquery.errors import SchemaMismatch
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync import parallel
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline.sync.parallel import sync_in_parallel
from engarde_pipeline_tests.sync.samples import row
from engarde_pipeline_tests.world import World

DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(28)]

Outcomes = Generator[list[SyncedDate | FailedDate]]


def begin(world: World, writers: int = 3, threshold: float | None = 0.5) -> Outcomes:
    options = LoadOptions(uuid4(), threshold, 2)
    return sync_in_parallel(
        CAMPAIGN_METRICS, DAYS, world.source, lambda: connect(world.database_url), options, writers
    )


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yield dates as soon as they land, so that others are left when the first has."""
    monkeypatch.setattr(parallel, "SECONDS_TOGETHER", 0)


@pytest.fixture
def month(world: World, tenant: UUID, campaign: UUID) -> World:
    """A world with one source row on each date."""
    world.load([row(tenant, metric_date=day, clicks=n) for n, day in enumerate(DAYS)])
    return world


def test_every_date_lands_exactly_once(month: World) -> None:
    outcomes = list(chain.from_iterable(begin(month)))

    assert Counter(outcome.day for outcome in outcomes) == Counter(DAYS)
    assert [(loaded["metric_date"], loaded["clicks"]) for loaded in month.rows()] == [
        (day, n) for n, day in enumerate(DAYS)
    ]


def test_dates_that_land_soon_after_one_another_are_yielded_together(
    month: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "SECONDS_TOGETHER", 3600)  # longer than any machine takes

    together = list(begin(month, writers=3))

    assert len(together) <= 3, "only the end of a writer ends a list"
    assert Counter(outcome.day for outcome in chain.from_iterable(together)) == Counter(DAYS)


@pytest.mark.parametrize("writers", [1, 2, 16])
def test_any_number_of_writers_ends_with_the_same_rows(month: World, writers: int) -> None:
    list(begin(month, writers))

    again = [outcome for outcome in chain.from_iterable(begin(month)) if isinstance(outcome, SyncedDate)]

    assert sum(outcome.merged.counts.unchanged for outcome in again) == len(DAYS)


def test_a_date_that_fails_stops_no_other(month: World) -> None:
    list(chain.from_iterable(begin(month)))
    month.execute(f"DELETE FROM {month.dataset}.campaign_metrics WHERE metric_date = '{DAYS[9]}'")

    outcomes = list(chain.from_iterable(begin(month)))

    assert [outcome.day for outcome in outcomes if isinstance(outcome, FailedDate)] == [DAYS[9]]
    assert len(outcomes) == len(DAYS)


def test_a_fault_of_the_whole_table_is_raised_once(month: World) -> None:
    month.execute(f"DROP TABLE {month.dataset}.campaign_metrics")
    month.create_source(without=["clicks"])

    with pytest.raises(SchemaMismatch, match="clicks"):
        list(chain.from_iterable(begin(month)))

    assert month.rows() == []
    until_no_one_is_connected(month)


@pytest.mark.usefixtures("one_by_one")
def test_broken_connections_are_opened_again_and_every_date_lands_once(month: World) -> None:
    outcomes = begin(month)
    first = next(outcomes)
    month.query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    landed = [*first, *chain.from_iterable(outcomes)]

    assert Counter(outcome.day for outcome in landed if isinstance(outcome, SyncedDate)) == Counter(DAYS)
    assert [loaded["clicks"] for loaded in month.rows()] == list(range(len(DAYS)))
    until_no_one_is_connected(month)


@pytest.mark.usefixtures("one_by_one")
def test_a_sync_that_is_given_up_ends_its_writers_and_holds_no_date(month: World) -> None:
    with closing(begin(month)) as outcomes:
        next(outcomes)

    until_no_one_is_connected(month)
    assert len(list(chain.from_iterable(begin(month)))) == len(DAYS)


def until_no_one_is_connected(world: World) -> None:
    """Return as soon as only the world itself is connected to its database."""
    deadline = time.monotonic() + 30
    while world.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ):
        assert time.monotonic() < deadline, "somebody is still connected"
        time.sleep(0.01)
