"""Syncs a range of dates over several connections, so that reading, staging and merging overlap.

Each connection syncs a span of dates. A date is still one transaction of one connection; see `dates`.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from contextvars import copy_context
from datetime import date
from math import ceil
from queue import Empty, Queue
from time import monotonic

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync.dates import DATES_PER_READ, FailedDate, SyncedDate, sync_dates
from engarde_pipeline.sync.retries import after_lost_connection

MINIMUM_DATES = 7
"""The minimum number of dates for which another connection is worth opening."""

MAXIMUM_AHEAD = 64
"""The maximum number of dates that have landed and that the caller has not received yet."""

SECONDS_TOGETHER = 0.2
"""How long dates that land are collected, so that the caller can record them together."""

Outcome = SyncedDate | FailedDate


def sync_in_parallel(
    table: MetricTable,
    dates: Sequence[date],
    source: Source,
    connect: Callable[[], psycopg.Connection],
    options: LoadOptions,
    writers: int,
) -> Generator[list[Outcome]]:
    """Sync `dates` over up to `writers` connections; yield each when it has landed or failed, in any order.

    Dates that land within `SECONDS_TOGETHER` are yielded together.

    After a lost connection, a new one is opened and its remaining dates are read again. Close the generator
    (`contextlib.closing`) if it is not exhausted, to stop the writers. Once the sync is asked to end
    (`options.lock_wait`), the writers finish their current dates, and the others are neither synced nor yielded.
    Raises as `sync_dates`, after every writer has finished its current date.
    """
    is_stopping = options.lock_wait.is_stopping
    connect().close()  # a wrong address or login fails at once, without retries
    spans = _spans(sorted(set(dates)), writers)
    todo = iter(spans)
    # Bounded, so that no writer gets far ahead of what the caller has received.
    outcomes: Queue[Outcome | None] = Queue(maxsize=MAXIMUM_AHEAD)
    stopped = threading.Event()

    @after_lost_connection
    def sync_remaining(remaining: list[date]) -> None:
        with connect() as connection:
            synced = sync_dates(table, tuple(remaining), source, connection, options)
            with closing(synced):
                for outcome in synced:
                    remaining.remove(outcome.day)
                    outcomes.put(outcome)
                    if stopped.is_set() or is_stopping():
                        return

    def write() -> None:
        try:
            for span in todo:
                if not (stopped.is_set() or is_stopping()):
                    sync_remaining(list(span))
        except BaseException:
            stopped.set()
            raise
        finally:
            outcomes.put(None)

    with ThreadPoolExecutor(writers) as threads:
        # Each writer has a copy of the context, in which the run is what its log lines and spans belong to.
        writing = [threads.submit(copy_context().run, write) for _ in range(min(writers, len(spans)))]
        ended = 0
        try:
            while ended < len(writing):
                arrived = list(_together(outcomes))
                ended += arrived.count(None)
                if landed := [outcome for outcome in arrived if outcome]:
                    yield landed
        finally:
            stopped.set()
            while ended < len(writing):
                ended += outcomes.get() is None
        for writer in writing:
            writer.result()


def _together(outcomes: Queue[Outcome | None]) -> Iterator[Outcome | None]:
    """Yield the next outcome, and those that follow it soon; a writer that ends (None) is the last one."""
    yield (outcome := outcomes.get())
    until = monotonic() + SECONDS_TOGETHER
    with suppress(Empty):
        while outcome is not None:
            yield (outcome := outcomes.get(timeout=max(0, until - monotonic())))


def _spans(dates: Sequence[date], writers: int) -> list[Sequence[date]]:
    """Split dates evenly into spans that keep all writers busy and can be read at once."""
    rounds = ceil(len(dates) / (DATES_PER_READ * writers))
    spans = max(1, min(rounds * writers, len(dates) // MINIMUM_DATES))
    length = ceil(len(dates) / spans)
    return [dates[start : start + length] for start in range(0, len(dates), length)]
