"""`python -m benchmarks.ticks`: the CPU that a tick of each sensor takes when nothing has changed.

Runs against the configured servers (DAGSTER_HOME, DATABASE_URL, BIGQUERY_...), without the daemon, the code server
and the requests between them. Nothing is requested and no run is started: the ticks are only evaluated.
"""

import logging
import sys
import time
from statistics import median

from dagster import DagsterInstance, SensorDefinition, build_sensor_context

from engarde_pipeline.definitions import defs

ROUNDS = 7


def main() -> None:
    """Print the milliseconds of CPU and the duration of a tick, medians of `ROUNDS` after a first one."""
    logging.disable()
    repository = defs.get_repository_def()
    with DagsterInstance.get() as instance:
        for sensor in sorted(repository.sensor_defs, key=lambda found: found.name):
            cursor, _, _ = _tick(instance, sensor, None)
            figures = []
            for _ in range(ROUNDS):
                cursor, cpu, seconds = _tick(instance, sensor, cursor)
                figures.append((cpu, seconds))
            cpu, seconds = (1000 * median(values) for values in zip(*figures, strict=True))
            sys.stdout.write(f"{sensor.name}: {cpu:.0f} ms of CPU, {seconds:.0f} ms\n")


def _tick(
    instance: DagsterInstance, sensor: SensorDefinition, cursor: str | None
) -> tuple[str | None, float, float]:
    """Evaluate a tick; return the cursor for the next, the seconds of CPU of this process, and its duration."""
    cpu, started = time.process_time(), time.perf_counter()
    with build_sensor_context(
        instance=instance, cursor=cursor, definitions=defs, resources=defs.resources, sensor_name=sensor.name
    ) as context:
        evaluated = sensor.evaluate_tick(context)
    return evaluated.cursor or cursor, time.process_time() - cpu, time.perf_counter() - started


if __name__ == "__main__":
    main()
