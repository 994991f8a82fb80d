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

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync.dates import DATES_PER_READ, FailedDate, SyncedDate, sync_dates
from engarde_pipeline.sync.retries import after_lost_connection

FEWEST_DATES = 7
"""Fewer dates are not worth a connection of their own."""

Outcome = SyncedDate | FailedDate


def sync_side_by_side(
    table: MetricTable,
    dates: Sequence[date],
    source: Source,
    connect: Callable[[], psycopg.Connection],
    options: LoadOptions,
    writers: int,
) -> Generator[Outcome]:
    """Sync `dates` over up to `writers` connections; yield each as soon as it has landed or failed, in any order.

    The rest is as in `sync_dates`.

    Close the generator (`contextlib.closing`) when not all of it is read: that ends the writers.

    A lost connection is opened again, and the dates it had left are read and written again.

    Raises:
        As `sync_dates` does, once every writer has ended the date it was at.
    """
    connect().close()  # what is wrong with the address or the login is said at once
    spans = _spans(sorted(set(dates)), writers)
    todo = iter(spans)
    # Bounded, so that no writer runs far ahead of what the caller has been told.
    outcomes: Queue[Outcome | None] = Queue(maxsize=writers)
    given_up = threading.Event()

    @after_lost_connection
    def sync_rest(left: list[date]) -> None:
        with connect() as connection:
            synced = sync_dates(table, tuple(left), source, connection, options)
            with closing(synced):
                for outcome in synced:
                    left.remove(outcome.day)
                    outcomes.put(outcome)
                    if given_up.is_set():
                        return

    def write() -> None:
        try:
            for span in todo:
                if not given_up.is_set():
                    sync_rest(list(span))
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
