"""(l) A process of its own that evaluates the sensors and prints the seconds of CPU of a tick of each."""

import json
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from dagster import DagsterInstance, SensorDefinition, build_sensor_context

from engarde_pipeline.definitions import defs

_TICKS = 5


class NotIdle(Exception):
    """A sensor requests runs although nothing changed."""


def main(names: Sequence[str]) -> None:
    """Measure the sensors `names`: the median of some ticks, without the first one, which sees everything anew."""
    sensors = {sensor.name: sensor for sensor in defs.sensors or ()}
    with DagsterInstance.get() as instance:
        seconds = {name: _ticks(instance, sensors[name]) for name in names}
    sys.stdout.write("\n" + json.dumps(seconds) + "\n")


def _ticks(instance: DagsterInstance, sensor: SensorDefinition) -> float:
    cursor, took = None, []
    for _ in range(1 + _TICKS):
        resources: dict[str, Any] = {name: defs.resources[name] for name in sensor.required_resource_keys}  # type: ignore[index]
        with build_sensor_context(instance, cursor, definitions=defs, resources=resources) as context:
            started = time.process_time()
            result = sensor.evaluate_tick(context)
            took.append(time.process_time() - started)
        if result.run_requests:
            raise NotIdle(f"{sensor.name} requests {len(result.run_requests)} runs although nothing changed.")
        cursor = result.cursor
    return median(took[1:])


if __name__ == "__main__":
    main(sys.argv[2:])
