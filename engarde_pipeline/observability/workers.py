"""The workers that execute runs (`engarde worker`), as they respond through redis."""

import time
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from dagster import DagsterInstance
from prometheus_client.core import Metric

from engarde_pipeline.observability.catalogue import METRICS

_COUNT_SECONDS = 60
"""How often it is asked whether there are more workers than those that are known, which takes two seconds."""


@runtime_checkable
class HasWorkers(Protocol):
    """A run launcher that hands runs to workers, such as the one in `celery_launcher`."""

    def slots(self, expected: int | None = None) -> Mapping[str, int]:
        """Return the workers that respond, and how many runs each can execute at the same time."""


class Workers:
    """Reads which workers respond; other run launchers have none, and then the metrics have no values."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._known = 0
        self._count_at = 0.0

    def read(self) -> Iterator[Metric]:
        """Yield whether redis can be reached, the workers that respond, and how many runs they can execute."""
        launcher = self._instance.run_launcher
        slots: Mapping[str, int] | None = None
        is_up: bool | None = None
        if isinstance(launcher, HasWorkers):
            slots = self._slots(launcher)
            is_up = slots is not None
        yield METRICS.broker_up.family(is_up)
        yield METRICS.workers.family(None if slots is None else len(slots))
        yield METRICS.worker_slots.family(None if slots is None else sum(slots.values()))

    def _slots(self, launcher: HasWorkers) -> Mapping[str, int] | None:
        from kombu.exceptions import OperationalError  # of the extra "distributed", which such a launcher needs

        is_due = not self._known or time.monotonic() >= self._count_at
        try:
            slots = launcher.slots(None if is_due else self._known)
        except OperationalError:
            return None
        if is_due:
            self._count_at = time.monotonic() + _COUNT_SECONDS
        self._known = len(slots)
        return slots
