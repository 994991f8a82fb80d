"""Many dates at once: a few connections, each at a span of dates of its own, so that reading, staging and merging
overlap. Every date is still one transaction of one connection; see `dates`.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from math import ceil
from queue import Queue
from uuid import UUID

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.metrics import MetricTable
from engarde_pipeline.sync.dates import DATES_PER_READ, FailedDate, SyncedDate, sync_dates

FEWEST_DATES = 7
"""Fewer dates are not worth a connection of their own."""

Outcome = SyncedDate | FailedDate


def sync_side_by_side(
    table: MetricTable,
    dates: Sequence[date],
    source: Source,
    connect: Callable[[], psycopg.Connection],
    run_id: UUID,
    shrink_threshold: float | None,
    writers: int,
) -> Generator[Outcome]:
    """Sync `dates` over up to `writers` connections; yield each as soon as it has landed or failed, in any order.

    Close the generator (`contextlib.closing`) when not all of it is read: that ends the writers.

    Raises:
        As `sync_dates` does, once every writer has ended the date it was at.
    """
    spans = _spans(sorted(set(dates)), writers)
    if len(spans) <= 1:
        with connect() as connection:
            yield from sync_dates(table, dates, source, connection, run_id, shrink_threshold)
        return
    todo = iter(spans)
    # Bounded, so that no writer runs far ahead of what the caller has been told.
    outcomes: Queue[Outcome | None] = Queue(maxsize=writers)
    given_up = threading.Event()

    def write() -> None:
        try:
            with connect() as connection:
                for span in todo:
                    with closing(sync_dates(table, span, source, connection, run_id, shrink_threshold)) as synced:
                        for outcome in synced:
                            outcomes.put(outcome)
                            if given_up.is_set():
                                return
        except BaseException:
            given_up.set()
            raise
        finally:
            outcomes.put(None)

    with ThreadPoolExecutor(writers) as threads:
        writing = [threads.submit(write) for _ in range(min(writers, len(spans)))]
        ended = 0
        try:
            while ended < len(writing):
                outcome = outcomes.get()
                if outcome:
                    yield outcome
                else:
                    ended += 1
        finally:
            given_up.set()
            while ended < len(writing):
                ended += outcomes.get() is None
        for writer in writing:
            writer.result()


def _spans(dates: Sequence[date], writers: int) -> list[Sequence[date]]:
    """Split dates evenly: as many spans as keep all writers busy to the end, none too long for one read."""
    rounds = ceil(len(dates) / (DATES_PER_READ * writers))
    spans = max(1, min(rounds * writers, len(dates) // FEWEST_DATES))
    length = ceil(len(dates) / spans)
    return [dates[start : start + length] for start in range(0, len(dates), length)]
