"""Whether BigQuery can be read, from the ticks of the sensor that looks for changes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from dagster import DagsterInstance

LOOKS_FOR_CHANGES = "changed_partitions"
"""The sensor that reads BigQuery's metadata every 30 seconds."""

_TICKS = 1000


@dataclass(frozen=True)
class FailingTicks:
    """The first of the latest ticks, all of which failed, and the error of the last one."""

    since: datetime
    error: str


def failing_ticks(instance: DagsterInstance) -> FailingTicks | None:
    """Return since when BigQuery's changes could not be read, and why; None if they could be read last time.

    Of ticks that have failed for hours, at least the last 1,000 are looked at.
    """
    for sensor in instance.all_instigator_state():
        if sensor.name != LOOKS_FOR_CHANGES:
            continue
        ticks = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id, limit=_TICKS)
        failed = list(takewhile(lambda tick: tick.is_failure, (tick for tick in ticks if tick.is_completed)))
        if failed and (error := failed[0].error):
            # The message begins with the name of the class, as Python prints it.
            reason = error.message.partition(f"{error.cls_name}: ")[2] or error.message
            return FailingTicks(datetime.fromtimestamp(failed[-1].timestamp, UTC), reason.strip())
    return None
