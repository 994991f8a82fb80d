"""Backfills, asked for as the UI does and carried out by the daemon.

As a module, `python -m ... FIRST LAST` asks for one in a process of its own, which reads ENGARDE_FIRST_DATE anew.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from uuid import uuid4

from dagster import AssetKey, DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from engarde_pipeline.core.dates import dates_between
from engarde_pipeline.definitions import defs

_ASSETS = ("campaign_metrics", "campaign_asset_metrics", "campaign_space_aggregates")


def ask_for_backfill(instance: DagsterInstance, dates: Sequence[date]) -> str:
    """Ask for a backfill of every asset over `dates`; return its id."""
    wanted = PartitionBackfill.from_asset_partitions(
        backfill_id=uuid4().hex[:8],
        asset_graph=defs.resolve_asset_graph(),
        partition_names=[day.isoformat() for day in dates],
        asset_selection=[AssetKey(name) for name in _ASSETS],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(wanted)
    return wanted.backfill_id


def ask_for_backfill_elsewhere(first: date, last: date) -> str:
    """Ask for a backfill in another process, whose partitions may begin earlier than here; return its id."""
    command = [sys.executable, "-m", __name__, str(first), str(last)]
    asked = subprocess.run(command, check=True, capture_output=True, text=True)
    return asked.stdout.split()[-1]


def backfill_status(instance: DagsterInstance, backfill: str) -> BulkActionStatus:
    found = instance.get_backfill(backfill)
    assert found is not None
    return found.status


def has_ended(instance: DagsterInstance, backfill: str) -> bool:
    ends = (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED)
    return backfill_status(instance, backfill) in ends


if __name__ == "__main__":
    with DagsterInstance.get() as opened:
        dates = dates_between(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2]))
        sys.stdout.write(ask_for_backfill(opened, dates))
