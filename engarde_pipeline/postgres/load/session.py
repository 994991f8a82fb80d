"""A load session: stages, prepares and merges some dates of one table over one connection.

It owns the temporary tables of the connection, through which the steps pass their data:

* `staged` and `staged_keys`, created by `staging`: the source rows, and each distinct key once;
* `subjects` and `records`, created by `records`: the mappings of the keys, and the sums per key and date;
* `kept`, created by `source_keys`: the rows that keep their last good value because a record is bad;
* `similar_keys`, created by `similar_keys` if a record is bad: reasons that name the similar key.

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
    """Loads the dates of one read, from the batches of the source to the target.

    Call `locked`, within it `stage` and `prepare` in one transaction, then `merge` for each date.
    """

    def __init__(self, connection: psycopg.Connection, table: MetricTable, options: LoadOptions) -> None:
        self._connection = connection
        self._table = table
        self._options = options
        self._removals: dict[date, list[int]] = {}

    @contextmanager
    def locked(self, dates: Sequence[date]) -> Iterator[None]:
        """Lock `dates` for writing; waits while another sync holds them (rule 7).

        Raises:
            DatesLocked: another sync holds them for too long.
        """
        with dates_locked(self._connection, self._table, dates):
            # This load cannot restore rows that are removed after this. A slice does not
            # restore all rows of a date.
            if self._options.replaces_whole_dates:
                self._removals = open_removals(self._connection, self._table, dates)
            yield

    def stage(self, columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> int:
        """Stage the source rows, in the caller's transaction; return their number. See `staging.stage`."""
        return stage(self._connection, self._table, columns, batches)

    def prepare(self) -> None:
        """Create records from the staged rows, in the caller's transaction. See `records.create_records`."""
        self._prepared = create_records(self._connection, self._table, self._options.scope)

    def merge(self, day: date) -> MergedDate:
        """Replace the rows of `day` by its records; see `merge.merge_date`."""
        removals = [*self._removals.get(day, ()), *self._prepared.noted_by]
        return merge_date(
            self._connection,
            self._table,
            day,
            self._prepared,
            self._options,
            removals if self._options.replaces_whole_dates else (),
        )
