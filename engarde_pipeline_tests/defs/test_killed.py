"""A run is killed at some moment: what Dagster then says of each date is true, and the next run finishes it."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.dates import dates_between, today
from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
from engarde_pipeline_tests.dagster_runs import landed_dates
from engarde_pipeline_tests.world import World

pytestmark = pytest.mark.long

FIRST, LAST = today() - timedelta(days=59), today()


@pytest.fixture
def sample(configured: World) -> World:
    """Sixty dates of sample data in BigQuery, none of them in Postgres."""
    seed_postgres(configured.connection)
    fill_bigquery(configured.source.client, configured.dataset, LAST)
    return configured


def sync() -> subprocess.Popen[bytes]:
    """Start a sync of the range in a process of its own, with children of its own."""
    command = ["-m", "engarde_pipeline.cli", "sync", "--start", str(FIRST), "--end", str(LAST)]
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def rows_per_date(world: World) -> dict[str, int]:
    """The dates Postgres has, and how many rows of each."""
    counted = world.query("SELECT metric_date, count(*) AS rows FROM campaign_metrics GROUP BY metric_date")
    return {str(row["metric_date"]): row["rows"] for row in counted}


def kill_when_landed(world: World, dates: int) -> None:
    """Start a sync and kill all of its processes as soon as so many dates are in Postgres."""
    process = sync()
    try:
        while len(rows_per_date(world)) < dates:
            assert process.poll() is None, "the sync ended before it could be killed"
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("dates", [1, 8, 40])
def test_no_date_is_green_that_postgres_does_not_have(
    sample: World, instance: DagsterInstance, dates: int
) -> None:
    kill_when_landed(sample, dates)

    present = rows_per_date(sample)
    assert set(landed_dates(instance, "campaign_metrics")) <= present.keys()
    assert len(present) < len(dates_between(FIRST, LAST)), "it was killed too late to show anything"


def test_every_date_is_there_whole_or_not_at_all(sample: World) -> None:
    kill_when_landed(sample, 20)
    left = rows_per_date(sample)

    assert sync().wait() == 0

    complete = rows_per_date(sample)
    assert len(complete) == len(dates_between(FIRST, LAST))
    assert left.items() <= complete.items()


def test_the_next_run_rewrites_nothing_that_landed(sample: World) -> None:
    kill_when_landed(sample, 20)
    versions = "SELECT id, xmin::text FROM campaign_metrics"
    landed = {row["id"]: row["xmin"] for row in sample.query(versions)}

    assert sync().wait() == 0

    assert landed.items() <= {row["id"]: row["xmin"] for row in sample.query(versions)}.items()


def test_nothing_is_left_locked(sample: World) -> None:
    kill_when_landed(sample, 8)
    locks = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    # The server notices when it next writes to the connection, at the latest at the end of its statement.
    deadline = time.monotonic() + 30
    while sample.query(locks) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert sample.query(locks) == []
