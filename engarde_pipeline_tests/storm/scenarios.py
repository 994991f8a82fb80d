"""The scenarios of a storm, by a seed."""

import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.sync.dates import SyncedDate, sync_dates
from engarde_pipeline_tests import oracle
from engarde_pipeline_tests.storm.faults import FAULTS
from engarde_pipeline_tests.sync.test_property import (
    TENANTS,
    Chapter,
    State,
    Story,
    begin,
    held,
    stories,
    sync,
    tell,
)
from engarde_pipeline_tests.world import World

_SECONDS_TO_LEAVE = 10


_LEFT_OPEN = 30
"""Threads or files that pools and channels may have opened for good; one left by each scenario is far more."""


@dataclass
class Report:
    """What a storm did: under which faults a sync ran, and how many syncs or single dates each stopped."""

    scenarios: int = 0
    slices: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    rows_checked: int = 0


def storm(world: World, storm_seed: int, scenarios: int) -> Report:
    """Run scenarios until all are done, or one fails: then it raises what the smallest such case raises.

    Every kind of fault has its share of the scenarios.
    """
    report = Report()
    threads, files = _open()
    for number, kind in enumerate(FAULTS):
        _scenarios(world, kind, storm_seed + number, max(1, scenarios // len(FAULTS)), report)
    assert _open() <= (threads + _LEFT_OPEN, files + _LEFT_OPEN), "threads or files are left open"
    return report


def _open() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/dev/fd").iterdir()))


def _scenarios(world: World, first_kind: str, share_seed: int, scenarios: int, report: Report) -> None:
    @seed(share_seed)
    @settings(
        max_examples=scenarios,
        deadline=None,
        database=None,
        phases=set(Phase) - {Phase.explain},
        suppress_health_check=list(HealthCheck),
    )
    @given(
        told=st.sampled_from([CAMPAIGN_METRICS, ASSET_METRICS]).flatmap(
            lambda table: st.tuples(st.just(table), stories(table))
        ),
        second_kind=st.sampled_from(list(FAULTS)),
        number=st.integers(0, 600),
    )
    def run(told: tuple[MetricTable, Story], second_kind: str, number: int) -> None:
        table, story = told
        state = begin(world, table, story)
        tell(world, table, story.first)
        state = _sync_under(second_kind, number, world, table, story.first, state, report)
        tell(world, table, story.restated)
        if number % 2:
            state = _slice_under(second_kind, number, world, table, story.restated, state, report)
        state = _sync_under(first_kind, number, world, table, story.restated, state, report)
        state = sync(world, table, story.restated, state)
        report.scenarios += 1
        report.rows_checked += sum(len(day.rows) + len(day.rejected) for day in state.values())

    run()


def _sync_under(
    kind: str, number: int, world: World, table: MetricTable, chapter: Chapter, before: State, report: Report
) -> State:
    """Sync under a fault: each date is as it was, or as it must become, and what was said to land did."""
    run = uuid4()
    landed = set()
    report.faults[kind] += 1
    with FAULTS[kind](world, table, number) as (source, address):
        try:
            with connect(address) as connection:
                for outcome in sync_dates(table, chapter.dates, source, connection, LoadOptions(run, None, None)):
                    if isinstance(outcome, SyncedDate):
                        counts = outcome.merged.counts
                        assert counts.add_up
                        landed.add(outcome.day)
                    else:
                        report.stopped[kind] += 1
        except AssertionError:
            raise
        except Exception:
            report.stopped[kind] += 1
        _wait_until_nothing_is_left(world)
    now = held(world, table)
    for day, state in now.items():
        if day not in chapter.dates:
            assert state == before[day]
            continue
        after, _ = oracle.sync_date(table, chapter.source, chapter.application, before[day], day, run)
        assert state == after if day in landed else state in (before[day], after), (kind, day)
    return now


def _slice_under(
    kind: str, number: int, world: World, table: MetricTable, chapter: Chapter, before: State, report: Report
) -> State:
    """Sync one tenant's slice under a fault: what is not its own stays as it was (rule 8)."""
    scope = Scope(tenant_id=TENANTS[number % len(TENANTS)])
    report.slices += 1
    with FAULTS[kind](world, table, number) as (source, address):
        with suppress(psycopg.Error, EngardeError), connect(address) as connection:
            for _ in sync_dates(table, chapter.dates, source, connection, LoadOptions(uuid4(), None, None, scope)):
                pass
        _wait_until_nothing_is_left(world)
    now = held(world, table)
    for day, state in now.items():
        others = {key: row for key, row in state.rows.items() if row.tenant != scope.tenant_id}
        assert others == {k: row for k, row in before[day].rows.items() if row.tenant != scope.tenant_id}
    return now


def _wait_until_nothing_is_left(world: World) -> None:
    """No connection of the sync, and with it no lock and no temporary table."""
    until = time.monotonic() + _SECONDS_TO_LEAVE
    left = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while found := world.query(f"{left} AND backend_type = 'client backend'"):
        assert time.monotonic() < until, found
        time.sleep(0.01)
    assert not world.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
    assert not world.query("SELECT 1 FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")
