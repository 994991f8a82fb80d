"""A backfill that is canceled while one of its runs waits or is retried does not go on."""

import os
import signal
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.definitions import defs
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.runs.attempts import reasons_of
from engarde_pipeline.runs.run_config import range_tags
from engarde_pipeline_tests.dagster_runs import execute, origin_of, process_of, unfinished
from engarde_pipeline_tests.defs.backfills import ask_for_backfill, backfill_status
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)
YESTERDAY = today() - timedelta(days=1)
RETRY = {"dagster/retry_number": "1"}


def cancel(
    instance: DagsterInstance, backfill: str, status: BulkActionStatus = BulkActionStatus.CANCELING
) -> None:
    """Cancel a backfill, as the UI does."""
    found = instance.get_backfill(backfill)
    assert found is not None
    instance.update_backfill(found.with_status(status))  # type: ignore[no-untyped-call]


def create_run(instance: DagsterInstance, tags: dict[str, str], parent: DagsterRun | None = None) -> DagsterRun:
    of_parent = {f"dagster/{of}_run_id": parent.run_id for of in ("parent", "root")} if parent else {}
    return instance.create_run_for_job(
        defs.resolve_job_def("performance_sync"),
        tags={**range_tags(DAY, DAY), **of_parent, **tags},
        parent_run_id=parent.run_id if parent else None,
        root_run_id=parent.run_id if parent else None,
        remote_job_origin=origin_of("performance_sync"),
    )


@pytest.mark.parametrize(
    ("status", "is_of_backfill"),
    [(BulkActionStatus.CANCELED, True), (BulkActionStatus.CANCELING, False)],
    ids=["a retry that was starting", "a retry that the daemon created meanwhile, without the tag"],
)
def test_a_retry_of_a_canceled_backfill_ends_as_canceled_and_syncs_nothing(
    instance: DagsterInstance, shop: Shop, status: BulkActionStatus, is_of_backfill: bool
) -> None:
    shop.load(DAY)
    backfill = ask_for_backfill(instance, [DAY])
    of_backfill = {"dagster/backfill": backfill}
    failed = create_run(instance, of_backfill)
    retry = create_run(instance, {**RETRY, **(of_backfill if is_of_backfill else {})}, failed)
    cancel(instance, backfill, status)

    execute(instance, retry.run_id)

    ended = instance.get_run_by_id(retry.run_id)
    assert ended is not None
    assert ended.status is DagsterRunStatus.CANCELED
    assert shop.world.rows() == []
    messages = [entry.message for entry in instance.all_logs(retry.run_id, DagsterEventType.PIPELINE_CANCELING)]
    assert [backfill in message for message in messages] == [True]


def test_a_person_can_run_a_part_of_a_canceled_backfill_again(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    backfill = ask_for_backfill(instance, [DAY])
    failed = create_run(instance, {"dagster/backfill": backfill})
    cancel(instance, backfill, BulkActionStatus.CANCELED)

    again = create_run(instance, {}, failed)
    execute(instance, again.run_id)

    assert len(shop.world.rows()) == 2


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_under_the_daemon_nothing_goes_on_and_a_run_that_waits_names_the_holder(
    instance: DagsterInstance, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sensors and schedules keep still.
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "1")
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1)")
    shop.load(YESTERDAY)
    holder = str(uuid4())
    with (
        running_daemon(tmp_path / "daemon.log"),
        connect(shop.world.database_url, holder) as other,
        dates_locked(other, CAMPAIGN_METRICS, [YESTERDAY]),
    ):
        waiting = _waiting_run(instance, shop, YESTERDAY)
        assert f"campaign_metrics {YESTERDAY} is held by run {holder}" in _log(instance, waiting)

        # It is killed in the moment in which its backfill is canceled; the daemon retries it.
        first = waiting.tags["dagster/backfill"]
        os.kill(process_of(instance, waiting.run_id), signal.SIGKILL)
        cancel(instance, first)
        eventually(lambda: _has_ended(instance, waiting.run_id), "the killed run's end")
        eventually(
            lambda: backfill_status(instance, first) is BulkActionStatus.CANCELED, "the first backfill's end"
        )
        eventually(lambda: not unfinished(instance), "the end of its retry")

        # It is canceled while it waits, and does not wait on.
        waiting = _waiting_run(instance, shop, YESTERDAY)
        cancel(instance, waiting.tags["dagster/backfill"])
        eventually(lambda: _has_ended(instance, waiting.run_id), "the canceled run's end", 60)
        assert reasons_of(instance, _run(instance, waiting.run_id)) == ["The run was cancelled."]
        eventually(lambda: not unfinished(instance), "the ends of all runs")
    assert shop.world.rows() == []
    assert instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.SUCCESS])) == []


def _waiting_run(instance: DagsterInstance, shop: Shop, day: date) -> DagsterRun:
    """Ask for a backfill; return its run as soon as it waits for a lock."""
    backfill = ask_for_backfill(instance, [day])
    locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    eventually(lambda: bool(shop.world.query(locks)), "a run that waits")
    (run,) = instance.get_runs(
        RunsFilter(statuses=[DagsterRunStatus.STARTED], tags={"dagster/backfill": backfill})
    )
    return run


def _run(instance: DagsterInstance, run_id: str) -> DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def _has_ended(instance: DagsterInstance, run_id: str) -> bool:
    return _run(instance, run_id).is_finished


def _log(instance: DagsterInstance, run: DagsterRun) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(run.run_id))
