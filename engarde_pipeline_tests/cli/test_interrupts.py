"""`engarde sync` that is asked to stop."""

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus

from engarde_pipeline_tests.shop import Shop

DATES = ("2026-01-01", "2026-06-30")


def _in_the_background() -> None:
    """What a shell without job control does to a command that ends in `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.long
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_sync_that_is_asked_to_stop_is_canceled_and_keeps_what_landed(
    ending: signal.Signals, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(date(2026, 1, 1))
    command = [sys.executable, "-m", "engarde_pipeline.cli", "sync", "--start", DATES[0], "--end", DATES[1]]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        cwd=Path.cwd(),
        preexec_fn=_in_the_background,
    ) as sync:
        while sync.poll() is None and not _landed(instance):
            time.sleep(0.1)
        sync.send_signal(ending)
        said, _ = sync.communicate(timeout=60)

    [run] = instance.get_runs()
    assert run.status is DagsterRunStatus.CANCELED, said
    assert sync.returncode == 1
    assert f"Dagster run {run.run_id}: canceled; the dates that were committed stay." in said
    assert "Run the same command again. Dates that were committed are not written again." in said
    assert 0 < _landed(instance) < 181


def _landed(instance: DagsterInstance) -> int:
    return len(instance.get_materialized_partitions(AssetKey("campaign_metrics")))
