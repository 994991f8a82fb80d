"""Dagster's daemon, redis and two workers."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.run_coordinator import SubmitRunContext

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.definitions import defs
from engarde_pipeline.postgres.connection import connect, connected_runs
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.runs.run_config import slice_run
from engarde_pipeline_tests.dagster_runs import landed_dates, origin_of, unfinished
from engarde_pipeline_tests.defs.backfills import ask_for_backfill_elsewhere, has_ended
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.distributed.cluster import Worker
from engarde_pipeline_tests.distributed.launched import code_origin_of, status_of
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World, campaigns_in_bigquery, campaigns_in_postgres

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("daemon")]

YESTERDAY = today() - timedelta(days=1)
LAST = today() - timedelta(days=40)
"""A date that the sensors do not sync by themselves."""

StartWorker = Callable[..., Worker]


@pytest.fixture
def shop(distributed: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Shop:
    """A tenant; lost runs are looked for every few seconds, and the sensors keep only today in sync.

    As many runs are allowed as the workers can execute.
    """
    file = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    text = file.read_text()
    for old, new in (
        ("poll_interval_seconds: 60", "poll_interval_seconds: 5"),
        ("max_concurrent_runs: 4", f"max_concurrent_runs: {request.param}"),
    ):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", "1")
    return Shop(distributed)


@pytest.mark.parametrize("shop", [2], indirect=True, ids=["two at a time"])
def test_a_backfill_of_a_year_is_executed_by_two_workers_and_survives_the_kill_of_one(
    shop: Shop,
    instance: DagsterInstance,
    start_worker: StartWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = shop.world
    dates = [LAST - timedelta(days=n) for n in reversed(range(365))]
    monkeypatch.setenv("ENGARDE_FIRST_DATE", str(dates[0]))
    monkeypatch.setenv("ENGARDE_DATES_PER_RUN", "50")
    shop.load(*dates)
    workers = [start_worker("first"), start_worker("second")]
    # A date of the first run waits, so that it is executing when its worker is killed.
    held = dates[49]
    with running_daemon(tmp_path / "daemon.log"):
        with connect(world.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [held]):
            backfill = ask_for_backfill_elsewhere(dates[0], dates[-1])
            waiting = _run_of(instance, held)
            eventually(lambda: _waits_for_a_lock(world), "the run of the held date", 400)
            (killed,) = [worker for worker in workers if worker.name in _worker_of(instance, waiting())]
            eventually(lambda: all(worker.runs for worker in workers), "a run on each worker", 400)
            killed.kill()
        lost = waiting().run_id
        seconds = eventually(lambda: status_of(instance, lost) is DagsterRunStatus.FAILURE, "a lost run", 150)
        assert seconds < 120
        start_worker("third")
        eventually(lambda: has_ended(instance, backfill), "the end of the backfill", 600)
        eventually(lambda: not unfinished(instance), "the end of all runs", 120)

    assert campaigns_in_postgres(world) == campaigns_in_bigquery(world)
    assert {day.isoformat() for day in dates} <= set(landed_dates(instance, "campaign_metrics"))
    # Others can fail for a moment and be retried, when the machine is overloaded; none is mistaken for lost.
    assert [run.run_id for run in instance.get_runs() if _was_declared_lost(instance, run)] == [lost]
    assert _were_side_by_side(instance)
    assert not connected_runs(world.connection)
    (sums,) = world.query(
        "SELECT (SELECT sum(total_clicks) FROM campaign_spaces) AS totals,"
        " (SELECT sum(clicks) FROM campaign_metrics) AS rows"
    )
    assert sums["totals"] == sums["rows"]


@pytest.mark.parametrize("shop", [4], indirect=True, ids=["four at a time"])
def test_a_tenant_does_not_get_more_than_its_share_of_the_workers(
    shop: Shop, instance: DagsterInstance, start_worker: StartWorker, tmp_path: Path
) -> None:
    shop.load(LAST)
    other_tenant = shop.world.tenant("Another")
    start_worker("first", "--concurrency", "4")
    with running_daemon(tmp_path / "daemon.log"):
        with _date_locked(shop.world, LAST):
            asked = [_submit_slice(instance, shop.tenant) for _ in range(4)]
            theirs = _submit_slice(instance, other_tenant)
            started = [DagsterRunStatus.STARTED]
            eventually(lambda: len(instance.get_runs(RunsFilter(asked, statuses=started))) == 2, "two slices", 90)
            eventually(
                lambda: status_of(instance, theirs) in (*started, DagsterRunStatus.SUCCESS), "the other tenant's"
            )
            queued = [run_id for run_id in asked if status_of(instance, run_id) is DagsterRunStatus.QUEUED]
            assert len(queued) == 2
        eventually(lambda: not unfinished(instance), "the end of all runs")
    assert {status_of(instance, run_id) for run_id in (*asked, theirs)} == {DagsterRunStatus.SUCCESS}


@contextmanager
def _date_locked(world: World, day: date) -> Iterator[None]:
    with connect(world.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [day]):
        yield


def _submit_slice(instance: DagsterInstance, tenant: UUID) -> str:
    spec = slice_run(LAST, LAST, tenant=str(tenant), platforms=[], campaigns=[])
    run = instance.create_run_for_job(
        defs.resolve_job_def(spec.job),
        run_config=spec.run_config,
        tags=spec.tags,
        remote_job_origin=origin_of(spec.job),
        job_code_origin=code_origin_of(spec.job),
    )
    instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    return run.run_id


def _run_of(instance: DagsterInstance, day: date) -> Callable[[], DagsterRun]:
    """A look-up of the first run whose last date is `day`."""

    def look_up() -> DagsterRun:
        tag = {"dagster/asset_partition_range_end": day.isoformat()}
        return instance.get_runs(RunsFilter(tags=tag))[-1]

    return look_up


def _worker_of(instance: DagsterInstance, run: DagsterRun) -> str:
    info = instance.run_launcher.get_run_worker_debug_info(run)
    assert info, "no worker executes the run"
    return info.partition("@")[0]


def _was_declared_lost(instance: DagsterInstance, run: DagsterRun) -> bool:
    return any("No worker executes the run" in entry.message for entry in instance.all_logs(run.run_id))


def _were_side_by_side(instance: DagsterInstance) -> bool:
    """Whether two runs were executed at the same time."""
    spans = sorted(
        (record.start_time, record.end_time)
        for record in instance.get_run_records()
        if record.start_time and record.end_time
    )
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


def _waits_for_a_lock(world: World) -> bool:
    return bool(world.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
