"""Under the real daemon: BigQuery changes, and Postgres follows by itself."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect, connected_runs
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline_tests.bigquery.faulty import HANGS_UP, refusal
from engarde_pipeline_tests.dagster_runs import process_of
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.shop import Shop

YESTERDAY, TODAY = today() - timedelta(days=1), today()


def clicks(shop: Shop) -> int:
    return sum(int(row["clicks"]) for row in shop.world.rows())


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_postgres_follows_bigquery_through_changes_faults_mappings_and_a_kill(
    shop: Shop, times: Times, instance: DagsterInstance, tmp_path: Path
) -> None:
    world = shop.world
    shop.load(YESTERDAY, TODAY)
    unmapped = {"tenant_id": str(shop.tenant), "campaign_id": "c3", "platform": "meta", "clicks": 1000}
    world.load([{**unmapped, "metric_date": YESTERDAY}])
    for table in ("campaign_metrics", "asset_metrics"):
        times.touch(table, YESTERDAY, TODAY)
    with running_daemon(tmp_path / "daemon.log"):
        # A fresh install: the last thirty dates, and the totals, without anybody asking.
        eventually(lambda: clicks(shop) == 40, "the first sync")

        # A restated date, while BigQuery is overloaded, too fast asked, and drops connections.
        times.proxy.fail("POST", refusal(503, "backendError", "Retrying may solve the problem."), times=2)
        times.proxy.fail("GET", refusal(403, "rateLimitExceeded", "Exceeded rate limits."), times=1)
        times.proxy.fail("POST", HANGS_UP, times=1)
        restated = f"metric_date = '{YESTERDAY}' AND campaign_id <> 'c3'"
        world.execute(f"UPDATE {world.dataset}.campaign_metrics SET clicks = 15 WHERE {restated}")
        times.touch("campaign_metrics", YESTERDAY)
        eventually(lambda: clicks(shop) == 50, "the restated date")

        # A campaign is added in Postgres: its rejected rows come, though BigQuery has not changed.
        assert world.reasons() == ["campaign_not_mapped"]
        world.campaign(shop.tenant, "c3")
        eventually(lambda: world.reasons() == [], "the mapped campaign")
        assert clicks(shop) == 1050

        eventually(lambda: _ended(instance), "the runs' ends")

        # A run that waits for a date another writer has is killed: it is noticed, and tried again.
        with connect(world.database_url) as other, dates_locked(other, CAMPAIGN_METRICS, [TODAY]):
            world.execute(f"UPDATE {world.dataset}.campaign_metrics SET clicks = 20 WHERE metric_date = '{TODAY}'")
            times.touch("campaign_metrics", TODAY)
            eventually(lambda: _waits_for_a_lock(shop), "a run that waits")
            (killed,) = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
            assert connected_runs(world.connection) == {killed.run_id}
            os.kill(process_of(instance, killed.run_id), signal.SIGKILL)
            eventually(lambda: _has_failed(instance, killed.run_id), "the killed run's end")
        eventually(lambda: clicks(shop) == 1070, "the date of the killed run")
        eventually(lambda: _ended(instance), "the runs' ends")
    totals = world.query("SELECT sum(total_clicks) AS clicks FROM campaign_spaces")[0]["clicks"]
    assert totals == clicks(shop)
    failed = [run.run_id for run in instance.get_runs() if run.status is not DagsterRunStatus.SUCCESS]
    assert failed == [killed.run_id]
    assert world.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory'") == []


def _waits_for_a_lock(shop: Shop) -> bool:
    return bool(shop.world.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def _has_failed(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is DagsterRunStatus.FAILURE


def _ended(instance: DagsterInstance) -> bool:
    unfinished = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
    return not instance.get_runs(RunsFilter(statuses=unfinished))
