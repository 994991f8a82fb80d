"""Rule 7: one writer per date. What a sync holds is seen by stopping it after its first date."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres import advisory_locks
from engarde_pipeline.postgres.advisory_locks import LockWait, WaitStopped
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import EVERYTHING, Scope
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, measures, row
from engarde_pipeline_tests.sync.waiting import until_a_backend_waits
from engarde_pipeline_tests.world import World

LATER = NEXT_DAY + timedelta(days=1)

Outcomes = Iterator[SyncedDate | FailedDate]


def begin(world: World, connection: psycopg.Connection, *dates: date) -> Outcomes:
    """Sync the first of `dates` and stop there; the rest goes on as the outcomes are read."""
    outcomes = sync_dates(CAMPAIGN_METRICS, dates, world.source, connection, LoadOptions(uuid4(), None, None))
    assert isinstance(next(outcomes), SyncedDate)
    return outcomes


@pytest.fixture
def first(world: World, campaign: UUID) -> Iterator[psycopg.Connection]:
    """The connection of the sync that comes first."""
    with connect(world.database_url) as connection:
        yield connection


@contextmanager
def in_background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.mark.parametrize("whose", ["everything", "slice"])
def test_a_second_sync_waits_and_writes_what_it_read_last(
    world: World, tenant: UUID, first: psycopg.Connection, whose: str
) -> None:
    world.load([row(tenant, metric_date=day, clicks=1) for day in (DAY, NEXT_DAY)])
    ahead = begin(world, first, DAY, NEXT_DAY)

    with in_background() as threads:
        scope = EVERYTHING if whose == "everything" else Scope(tenant_id=tenant)
        second = threads.submit(world.sync_one, NEXT_DAY, scope=scope)
        until_a_backend_waits(world)
        # Restated after the first sync has read it and while the second one waits.
        world.replace(NEXT_DAY, [row(tenant, metric_date=NEXT_DAY, clicks=2)])
        list(ahead)
        counts = second.result(timeout=60).merged.counts

    assert counts.updated == 1
    assert [sums["clicks"] for sums in measures(world)] == [1, 2]


def test_a_date_that_has_landed_is_held_until_its_sync_has_read_on(
    world: World, tenant: UUID, first: psycopg.Connection
) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    ahead = begin(world, first, DAY, NEXT_DAY)

    with in_background() as threads:
        second = threads.submit(world.sync_one, DAY)
        until_a_backend_waits(world)
        assert not second.done()
        list(ahead)
        assert second.result(timeout=60).merged.counts.unchanged == 1


def test_disjoint_dates_do_not_wait(world: World, tenant: UUID, first: psycopg.Connection) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY, LATER)])
    ahead = begin(world, first, DAY, NEXT_DAY)

    assert world.sync_one(LATER).merged.counts.inserted == 1
    assert len(list(ahead)) == 1


def test_the_other_table_does_not_wait(world: World, tenant: UUID, asset: UUID, first: psycopg.Connection) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    world.load([asset_row()], ASSET_METRICS)
    ahead = begin(world, first, DAY, NEXT_DAY)

    assert world.sync_one(DAY, table=ASSET_METRICS).merged.counts.inserted == 1
    assert len(list(ahead)) == 1


def test_two_syncs_over_dates_in_opposite_orders_both_end(world: World, tenant: UUID, campaign: UUID) -> None:
    days = [DAY + timedelta(days=n) for n in range(6)]
    world.load([row(tenant, metric_date=day) for day in days])

    with in_background() as threads:
        orders = (days, days[::-1], days[2:], days[:4])
        syncs = [threads.submit(world.sync, *order) for order in orders]
        outcomes = [outcome for sync in syncs for outcome in sync.result(timeout=60)]

    assert all(isinstance(outcome, SyncedDate) for outcome in outcomes)
    assert [loaded["metric_date"] for loaded in world.rows()] == days


def test_a_date_that_loses_a_deadlock_lands_all_the_same(world: World, tenant: UUID) -> None:
    campaigns = {world.campaign(tenant, name): name for name in ("c1", "c2")}
    low, high = sorted(campaigns)  # the order in which a merge comes to them
    world.load([row(tenant, name) for name in campaigns.values()])

    with connect(world.database_url) as other, in_background() as threads, other.transaction():
        other.execute("SET LOCAL deadlock_timeout = '1min'")  # the merge is the one to lose
        other.execute("SELECT FROM campaign_spaces WHERE id = %s FOR UPDATE", [high])
        sync = threads.submit(world.sync_one, DAY)
        until_a_backend_waits(world)
        other.execute("SELECT FROM campaign_spaces WHERE id = %s FOR UPDATE", [low])
    assert sync.result(timeout=60).merged.counts.inserted == 2


def test_a_killed_connection_releases_its_dates(world: World, tenant: UUID, first: psycopg.Connection) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    ahead = begin(world, first, DAY, NEXT_DAY)

    world.query("SELECT pg_terminate_backend(%s, 10000)", [first.info.backend_pid])

    assert world.sync_one(NEXT_DAY).merged.counts.inserted == 1
    with pytest.raises(psycopg.OperationalError):
        next(ahead)


def test_a_sync_that_is_given_up_releases_its_dates(world: World, tenant: UUID, first: psycopg.Connection) -> None:
    world.load([row(tenant, metric_date=day, clicks=1) for day in (DAY, NEXT_DAY)])
    ahead = begin(world, first, DAY, NEXT_DAY)

    ahead.close()  # type: ignore[attr-defined]

    assert [loaded["metric_date"] for loaded in world.rows()] == [DAY]
    assert world.sync_one(NEXT_DAY).merged.counts.inserted == 1


def test_a_sync_that_ended_holds_nothing(world: World, tenant: UUID, first: psycopg.Connection) -> None:
    world.load([row(tenant)])

    list(begin(world, first, DAY))

    assert held(world, first) == 0


@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS])
def test_a_sync_that_is_asked_to_end_while_it_waits_ends_and_leaves_nothing_held(
    world: World, first: psycopg.Connection, table: MetricTable
) -> None:
    stopping = threading.Event()
    with connect(world.database_url) as other, dates_locked(other, table, [NEXT_DAY]), in_background() as threads:

        def wait() -> None:
            with dates_locked(first, table, [DAY, NEXT_DAY], LockWait(stopping.is_set)):
                pass

        waiting = threads.submit(wait)
        until_a_backend_waits(world)
        stopping.set()
        with pytest.raises(WaitStopped, match=f"{table.target} {NEXT_DAY}"):
            waiting.result(timeout=60)

    assert held(world, first) == 0


def test_the_log_names_the_run_that_is_waited_for_and_the_lock_is_taken_when_it_ends(
    world: World, first: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    holder = str(uuid4())
    wait = LockWait(describe_run=lambda run_id: f"the run called {run_id}")
    with connect(world.database_url, holder) as other, in_background() as threads:

        def lock() -> int:
            with dates_locked(first, CAMPAIGN_METRICS, [DAY, NEXT_DAY], wait):
                return held(world, first)

        with dates_locked(other, CAMPAIGN_METRICS, [NEXT_DAY]):
            waiting = threads.submit(lock)
            until_a_backend_waits(world)
            lock_of = f"The lock of campaign_metrics {NEXT_DAY}"
            assert f"{lock_of} is held by the run called {holder}. Waiting" in caplog.text
        assert waiting.result(timeout=60) == 2
        assert f"{lock_of} was released after" in caplog.text


def test_a_date_that_is_never_released_is_given_up_with_the_holder(
    world: World, first: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory_locks, "MAXIMUM_WAIT", timedelta(seconds=2))
    holder = str(uuid4())
    with (
        connect(world.database_url, holder) as other,
        dates_locked(other, CAMPAIGN_METRICS, [DAY]),
        pytest.raises(advisory_locks.StillLocked, match=f"held by run {holder}"),
        dates_locked(first, CAMPAIGN_METRICS, [DAY]),
    ):
        pass


def held(world: World, connection: psycopg.Connection) -> int:
    """Return how many dates a connection holds."""
    (locks,) = world.query(
        "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND pid = %s",
        [connection.info.backend_pid],
    )
    return int(locks["held"])
