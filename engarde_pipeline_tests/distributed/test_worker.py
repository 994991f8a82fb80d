"""Runs that are executed by `engarde worker`."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from kombu.exceptions import OperationalError

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.dagster_internals import DagsterUserCodeUnreachableError, WorkerStatus
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline_tests.dagster_runs import landed_dates, materializations
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.distributed.cluster import Worker, start_redis
from engarde_pipeline_tests.distributed.launched import launch, status_of, wait_for
from engarde_pipeline_tests.servers import installed_program
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.telemetry.lines import answer, assert_tells_runs, parsed
from engarde_pipeline_tests.world import World

pytestmark = pytest.mark.xdist_group("distributed")

TODAY = today()
YESTERDAY = TODAY - timedelta(days=1)

StartWorker = Callable[..., Worker]


def test_a_worker_executes_a_run_and_answers_a_ping(
    distributed: World, instance: DagsterInstance, start_worker: StartWorker
) -> None:
    Shop(distributed).load(YESTERDAY, TODAY)
    worker = start_worker()

    run_id = launch(instance, YESTERDAY, TODAY)

    wait_for(instance, run_id, DagsterRunStatus.SUCCESS)
    assert landed_dates(instance, "campaign_metrics") == [YESTERDAY.isoformat(), TODAY.isoformat()]
    assert "start workers for 3 more" in " ".join(worker.log.split())
    assert _ping("engarde") == 0
    assert _ping("another") != 0
    assert "1 worker, 1 run at a time" in _doctor()
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.long
def test_the_log_of_a_worker_tells_its_runs_as_json(
    distributed: World,
    instance: DagsterInstance,
    start_worker: StartWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(distributed)
    shop.load(TODAY)
    monkeypatch.setenv("ENGARDE_LOG_FORMAT", "json")
    worker = start_worker()
    good = launch(instance, TODAY, TODAY)
    wait_for(instance, good, DagsterRunStatus.SUCCESS)
    distributed.execute(f"DROP TABLE {distributed.dataset}.campaign_metrics")
    failed = launch(instance, YESTERDAY, YESTERDAY)
    wait_for(instance, failed, DagsterRunStatus.FAILURE)
    worker.terminate()
    assert worker.wait() == 0

    assert_tells_runs(worker.log, good, failed, str(TODAY))
    (stopping,) = [event for event in parsed(worker.log) if "takes no more runs" in event["message"]]
    assert stopping["logger"] == "celery"
    why = [line.split("\t")[1] for line in answer("Why did runs fail?", tmp_path)]
    assert set(why) == {failed}


def _doctor() -> str:
    command = [sys.executable, "-m", "engarde_pipeline.cli", "doctor", "--for", "worker"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _ping(worker: str) -> int:
    # As in docs/scale-out.md: the address is not among the arguments, which other users of the machine can read.
    command = 'CELERY_BROKER_URL="$ENGARDE_BROKER_URL" exec celery inspect ping --destination "$0@$(hostname)"'
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(["sh", "-c", command, worker], env=environment, timeout=60).returncode


@pytest.mark.long
def test_a_cancelled_run_ends_as_canceled_whether_it_was_started_or_not(
    distributed: World, instance: DagsterInstance, start_worker: StartWorker
) -> None:
    shop = Shop(distributed)
    shop.load(YESTERDAY, TODAY)
    worker = start_worker()
    with connect(distributed.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [TODAY]):
        executing = launch(instance, TODAY, TODAY)
        waiting = launch(instance, TODAY, TODAY)
        eventually(lambda: _waits_for_a_lock(distributed), "a run that waits for its date")

        assert instance.run_launcher.terminate(waiting)
        assert status_of(instance, waiting) is DagsterRunStatus.CANCELED
        assert instance.run_launcher.terminate(executing)
        assert status_of(instance, executing) is DagsterRunStatus.CANCELING
    # It finishes the date it is at.
    wait_for(instance, executing, DagsterRunStatus.CANCELED)
    assert not instance.run_launcher.terminate(executing)
    assert [_was_never_started(instance, run) for run in (executing, waiting)] == [False, True]

    following = launch(instance, YESTERDAY, YESTERDAY)
    wait_for(instance, following, DagsterRunStatus.SUCCESS)
    assert worker.runs == 3
    assert waiting not in {record.run_id for record in materializations(instance, "campaign_metrics")}
    assert [status_of(instance, run) for run in (executing, waiting)] == [DagsterRunStatus.CANCELED] * 2
    assert not [run for run in instance.get_runs() if run.tags.get("dagster/will_retry") == "true"]


def _was_never_started(instance: DagsterInstance, run_id: str) -> bool:
    return any("No worker executes" in entry.message for entry in instance.all_logs(run_id))


@pytest.mark.long
def test_a_worker_that_is_stopped_hands_back_its_run_and_takes_no_other(
    distributed: World, instance: DagsterInstance, start_worker: StartWorker
) -> None:
    shop = Shop(distributed)
    shop.load(YESTERDAY, TODAY)
    worker = start_worker()
    with connect(distributed.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [TODAY]):
        interrupted = launch(instance, YESTERDAY, TODAY)
        waiting = launch(instance, YESTERDAY, YESTERDAY)
        eventually(lambda: _waits_for_a_lock(distributed), "a run that waits for its date")
        worker.terminate()
        eventually(lambda: "Warm shutdown" in worker.log, "the beginning of the shutdown")
    assert worker.wait() == 0
    assert worker.runs == 1

    # As failed, which Dagster retries, and not as canceled or after a permanent error, which it does not retry.
    assert status_of(instance, interrupted) is DagsterRunStatus.FAILURE
    run = instance.get_run_by_id(interrupted)
    assert run is not None
    assert run.tags.get("dagster/will_retry") == "true"
    assert status_of(instance, waiting) is DagsterRunStatus.STARTING
    start_worker("another")
    wait_for(instance, waiting, DagsterRunStatus.SUCCESS)


@pytest.mark.long
def test_runs_stay_queued_while_redis_is_down_and_workers_find_it_again(
    distributed: World,
    instance: DagsterInstance,
    start_worker: StartWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Shop(distributed).load(TODAY)
    program = installed_program("redis-server")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    monkeypatch.setenv("ENGARDE_BROKER_URL", f"redis://127.0.0.1:{port}/0")
    running = start_redis(program, port, tmp_path)
    try:
        worker = start_worker()
        with connect(distributed.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [TODAY]):
            executing = launch(instance, TODAY, TODAY)
            eventually(lambda: _waits_for_a_lock(distributed), "a run that waits for its date")
            running.kill()
            running.wait()
            # The daemon leaves a run in its queue after this error.
            with pytest.raises(
                DagsterUserCodeUnreachableError, match="redis, at the address of ENGARDE_BROKER_URL"
            ):
                launch(instance, YESTERDAY, YESTERDAY)
            # Nothing is known of a run, so none is ended.
            with pytest.raises(OperationalError):
                _health(instance, executing)
            with pytest.raises(OperationalError):
                instance.run_launcher.terminate(executing)
            assert status_of(instance, executing) is DagsterRunStatus.STARTED
            eventually(lambda: "Trying again" in worker.log, "a worker that has noticed it")
            running = start_redis(program, port, tmp_path)
        wait_for(instance, executing, DagsterRunStatus.SUCCESS)
        wait_for(instance, launch(instance, YESTERDAY, YESTERDAY), DagsterRunStatus.SUCCESS, seconds=120)
    finally:
        running.kill()
        running.wait()


@pytest.mark.long
def test_the_run_of_a_killed_worker_is_lost_and_one_that_only_waits_is_not(
    distributed: World, instance: DagsterInstance, start_worker: StartWorker
) -> None:
    Shop(distributed).load(YESTERDAY, TODAY)
    killed, kept = start_worker("killed"), start_worker("kept")
    with connect(distributed.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [YESTERDAY, TODAY]):
        runs = [launch(instance, day, day) for day in (YESTERDAY, TODAY)]
        for run_id in runs:
            wait_for(instance, run_id, DagsterRunStatus.STARTED)
        (lost,) = (run_id for run_id in runs if _is_executed_by(instance, run_id, "killed"))
        (waiting,) = set(runs) - {lost}
        killed.kill()

        assert _health(instance, lost) is WorkerStatus.RUNNING, "it has just logged an event"
        eventually(lambda: _health(instance, lost) is WorkerStatus.FAILED, "a lost run", 90)
        assert _health(instance, waiting) is WorkerStatus.RUNNING
    wait_for(instance, waiting, DagsterRunStatus.SUCCESS)
    assert kept.runs == 1


def _is_executed_by(instance: DagsterInstance, run_id: str, worker: str) -> bool:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    info = instance.run_launcher.get_run_worker_debug_info(run) or ""
    return f"worker {worker}@" in info


def _health(instance: DagsterInstance, run_id: str) -> WorkerStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return instance.run_launcher.check_run_worker_health(run).status


def _waits_for_a_lock(world: World) -> bool:
    return bool(world.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
