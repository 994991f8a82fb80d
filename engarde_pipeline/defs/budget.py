"""The daily byte budget: what stops sensors and schedules before BigQuery costs more than was meant.

A person's own sync is not stopped.
"""

from collections.abc import Sequence

from dagster import AssetKey, DagsterInstance

from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.history import bytes_last_read
from engarde_pipeline.runs.planning import TABLES
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.plan import PlannedDate


def estimated_bytes(instance: DagsterInstance, due: Sequence[PlannedDate]) -> int:
    """Return how many bytes the planned dates will read, as far as it can be known.

    A date counts its partition's size; where BigQuery tells none, as for a view, what its last sync read.
    """
    return sum(planned.size for planned in due) + sum(
        bytes_last_read(
            instance,
            AssetKey(table.target),
            [planned.day for planned in due if planned.table is table and not planned.size],
        )
        for table in TABLES
    )


def why_not(postgres: Postgres, planned_bytes: int) -> str | None:
    """Return why `planned_bytes` may not be read today, or None if they may.

    Raises:
        DatabaseUnavailable, SchemaNotCurrent: the bytes read so far cannot be looked up.
    """
    budget = load_pipeline_settings().engarde_daily_bytes
    with postgres.connect() as connection:
        used = bytes_today(connection)
    if used + planned_bytes <= budget and used < budget:
        return None
    return (
        f"The daily budget stops this: {used:,} bytes are read today (UTC), {planned_bytes:,} would be, of"
        f" {budget:,}. Raise ENGARDE_DAILY_BYTES, sync by hand, or wait for tomorrow."
    )
