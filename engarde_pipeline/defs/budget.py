"""The daily byte budget, which limits what sensors and schedules may read from BigQuery.

Runs that a person starts are not limited.
"""

from collections.abc import Sequence

from dagster import AssetKey, DagsterInstance

from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.history import bytes_last_read
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.plan import PlannedDate


def estimated_bytes(instance: DagsterInstance, due: Sequence[PlannedDate]) -> int:
    """Return an estimate of the bytes that syncing the planned dates will read.

    A date is estimated at its partition's size or, where BigQuery reports none (as for a view), at what its last
    sync read.
    """
    return sum(planned.size for planned in due) + sum(
        bytes_last_read(
            instance,
            AssetKey(table.target),
            [planned.day for planned in due if planned.table is table and not planned.size],
        )
        for table in METRIC_TABLES
    )


def over_budget(postgres: Postgres, planned_bytes: int) -> str | None:
    """Return why reading `planned_bytes` would exceed today's budget, or None if it would not.

    Raises:
        DatabaseUnavailable, SchemaNotCurrent: the bytes read so far cannot be looked up.
    """
    budget = load_pipeline_settings().engarde_daily_bytes
    with postgres.connect() as connection:
        used = bytes_today(connection)
    if used + planned_bytes <= budget and used < budget:
        return None
    return (
        f"This would exceed the daily budget of {budget:,} bytes: {used:,} bytes have been read today (UTC), and"
        f" {planned_bytes:,} more would be read. Raise ENGARDE_DAILY_BYTES, start the sync manually, or wait"
        " until tomorrow."
    )
