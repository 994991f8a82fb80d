"""Reads the parts at each scrape, at the same time and with a deadline, so that one cannot delay the others."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from engarde_pipeline.observability.catalogue import METRICS

DEADLINE_SECONDS = 6
"""Prometheus waits ten seconds for a scrape, which may take longer than this on a machine with much to do."""

Part = Callable[[], Iterable[Metric]]

logger = logging.getLogger(__name__)


class PartsCollector(Collector):
    """Yields the metrics of the parts that could be read, and which ones could not.

    A part that has not ended by the deadline goes on in its thread, and is not started again before it has ended:
    each part has at most one query at a time, and the first read of a long history may take several scrapes.
    """

    def __init__(self, parts: Mapping[str, Part], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._parts = parts
        self._deadline_seconds = deadline_seconds
        self._reads: dict[str, Future[tuple[list[Metric], float]]] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; a second scrape at the same time waits for the first one."""
        with self._lock:
            yield from self._collect()

    def _collect(self) -> Iterator[Metric]:
        for name, part in self._parts.items():
            if name not in self._reads:
                self._reads[name] = _start(part)
        wait(self._reads.values(), self._deadline_seconds)
        up: dict[tuple[str, ...], float] = {}
        seconds: dict[tuple[str, ...], float] = {}
        for name in self._parts:
            try:
                metrics, seconds[name,] = self._result(name)
            except Exception as error:  # Prometheus is to have the other parts, whatever is wrong with this one
                logger.warning("The part %s could not be read: %s", name, " ".join(str(error).split()))
                up[name,] = 0
            else:
                up[name,] = 1
                yield from metrics
        yield METRICS.exporter_up.family(up)
        yield METRICS.exporter_seconds.family(seconds)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry would otherwise read all parts when the collector is added."""
        return []

    def _result(self, name: str) -> tuple[list[Metric], float]:
        if not self._reads[name].done():
            raise TimeoutError(f"it takes longer than {self._deadline_seconds} seconds")
        return self._reads.pop(name).result()


def _start(part: Part) -> Future[tuple[list[Metric], float]]:
    future: Future[tuple[list[Metric], float]] = Future()

    def read() -> None:
        started = time.monotonic()
        try:
            future.set_result((list(part()), time.monotonic() - started))
        except Exception as error:  # it is raised by the future
            future.set_exception(error)

    # Not of a pool, whose threads would keep the process from ending.
    threading.Thread(target=read, daemon=True).start()
    return future
