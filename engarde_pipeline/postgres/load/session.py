"""A load session: some dates of one table, staged, prepared and merged over one connection.

It owns the connection's temporary tables, which the steps hand to each other:

* `staged` and `staged_keys`, made by `staging`: the source rows, and each of their keys once;
* `subjects` and `records`, made by `records`: what the keys lead to, and the rows summed per key and date, judged;
* `kept`, made by `source_keys`: the rows that keep their last good value because a record is bad;
* `similar_keys`, made by `similar_keys` where a record is bad: hints for its reader.

`merge` reads them date by date.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import psycopg
import pyarrow as pa

from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.postgres.load.merge import MergedDate, merge_date
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.records import create_records
from engarde_pipeline.postgres.load.removed_rows import open_removals
from engarde_pipeline.postgres.load.staging import stage


class LoadSession:
    """The dates of one read, locked, from the source's batches to the target.

    Call `locked`, within it `stage` and `prepare` in one transaction, then `merge` for each date.
    """

    def __init__(self, connection: psycopg.Connection, table: MetricTable, options: LoadOptions) -> None:
        self._connection = connection
        self._table = table
        self._options = options
        self._removals: dict[date, list[int]] = {}

    @contextmanager
    def locked(self, dates: Sequence[date]) -> Iterator[None]:
        """Hold the right to write `dates`, which another sync may have at the moment (rule 7).

        Raises:
            DatesLocked: another sync holds them for too long.
        """
        with dates_locked(self._connection, self._table, dates):
            # What is removed after this is not answered by this load. A slice does not bring back others' rows.
            if self._options.is_of_whole_dates:
                self._removals = open_removals(self._connection, self._table, dates)
            yield

    def stage(self, columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> int:
        """Take the source rows, in the caller's transaction; return their number. See `staging.stage`."""
        return stage(self._connection, self._table, columns, batches)

    def prepare(self) -> None:
        """Make records of what is staged, in the caller's transaction. See `records.create_records`."""
        self._prepared = create_records(self._connection, self._table, self._options.scope)

    def merge(self, day: date) -> MergedDate:
        """Make `day` what its records say; see `merge.merge_date`."""
        answered = [*self._removals.get(day, ()), *self._prepared.noted_by]
        return merge_date(
            self._connection,
            self._table,
            day,
            self._prepared,
            self._options,
            answered if self._options.is_of_whole_dates else (),
        )
