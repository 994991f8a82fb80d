"""A load session: stages, prepares and merges some dates of one table over one connection.

It owns the temporary tables of the connection, through which the steps pass their data:

* `staged` and `staged_keys`, created by `staging`: the source rows, and each distinct key once;
* `subjects`, created by `subjects`: the mappings of the keys;
* `records`, created by `records`: the sums per key and date;
* `kept`, created by `source_keys`: the rows that keep their last good value because a record is bad;
* `similar_keys`, created by `similar_keys` if a record is bad: reasons that name the similar key.

`merge` reads them date by date.

A dry run executes the same statements in one transaction, which is rolled back (rule 16).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import date

import psycopg
import pyarrow as pa

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.held_dates import (
    DateHeld,
    LastSync,
    Repetition,
    check_not_grown,
    check_not_repeated,
    held_among,
    hold,
    last_syncs,
    release,
    repeated_dates,
    unless_allowed,
)
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.postgres.load.merge import MergedDate, merge_date
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.records import create_records
from engarde_pipeline.postgres.load.removed_rows import open_removals
from engarde_pipeline.postgres.load.staging import stage
from engarde_pipeline.postgres.load.synced_dates import synced_by_older_version
from engarde_pipeline.postgres.totals.changed_dates import note_changed
from engarde_pipeline.postgres.totals.platform_days import rebuild


class LoadSession:
    """Loads the dates of one read, from the batches of the source to the target.

    Call `locked` and `rolled_back_if_dry`, within these `stage` and `prepare` in one transaction, then `merge` for
    each date.
    """

    def __init__(self, connection: psycopg.Connection, table: MetricTable, options: LoadOptions) -> None:
        self._connection = connection
        self._table = table
        self._options = options
        self._removals: dict[date, list[int]] = {}
        self._held: set[date] = set()
        self._last_syncs: dict[date, LastSync] = {}
        self._older: set[date] = set()
        self._repeated: dict[date, Repetition] = {}

    @contextmanager
    def locked(self, dates: Sequence[date]) -> Iterator[None]:
        """Lock `dates` for writing; waits while another sync holds them (rule 7).

        Raises:
            StillLocked: another sync holds them for too long.
            WaitStopped: this sync was asked to end.
        """
        with dates_locked(self._connection, self._table, dates, self._options.lock_wait):
            # This load cannot restore rows that are removed after this. A slice restores only some of a date's
            # rows.
            if self._options.replaces_whole_dates:
                self._removals = open_removals(self._connection, self._table, dates)
                self._held = held_among(self._connection, self._table, dates)
                self._last_syncs = last_syncs(self._connection, self._table, dates)
                self._older = synced_by_older_version(self._connection, self._table, dates)
            yield

    def rolled_back_if_dry(self) -> AbstractContextManager[object]:
        """Roll back everything within the block if this is a dry run; the temporary tables live as long."""
        return self._connection.transaction(force_rollback=True) if self._options.dry_run else nullcontext()

    def stage(self, columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> int:
        """Stage the source rows, in the caller's transaction; return their number. See `staging.stage`."""
        return stage(self._connection, self._table, columns, batches)

    def prepare(self) -> None:
        """Create records from the staged rows, in the caller's transaction. See `records.create_records`."""
        self._prepared = create_records(self._connection, self._table, self._options.scope)
        # One row per record cannot be repeated.
        if self._options.growth_threshold is not None and not self._prepared.is_summed:
            self._repeated = repeated_dates(self._connection, self._table)

    def merge(self, day: date) -> MergedDate:
        """Replace the rows of `day` by its records; see `merge.merge_date`. A dry run rolls it back.

        Raises:
            DateHeld: the load of the date looks wrong; nothing was changed. As `merge.merge_date` besides.
        """
        threshold = self._options.growth_threshold
        allowed: list[str] = []
        if threshold is not None:
            with unless_allowed(self._options.allowed, allowed):
                check_not_repeated(self._table, day, self._repeated.get(day))
                source = self._prepared.of(day).source
                check_not_grown(self._table, day, source, self._last_syncs.get(day), threshold)
        removals = [*self._removals.get(day, ()), *self._prepared.noted_by]
        dry_run = self._options.dry_run
        is_held = day in self._held
        # During an upgrade, a version that does not know currencies adds up sums of several currencies (rule 13).
        has_older_sums = self._table is CAMPAIGN_METRICS and day in self._older
        is_in_transaction = dry_run or is_held or has_older_sums
        # The savepoint of a dry run releases the locks on rows as soon as the commit of a sync would.
        with self._connection.transaction(force_rollback=dry_run) if is_in_transaction else nullcontext():
            if is_held:
                release(self._connection, self._table, day)
            merged = merge_date(
                self._connection,
                self._table,
                day,
                self._prepared,
                self._options,
                removals if self._options.replaces_whole_dates else (),
            )
            if has_older_sums:
                rebuild(self._connection, day)
                note_changed(self._connection, day)
            if dry_run:  # constraints of the application that are checked at a commit
                self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return replace(merged, allowed=(*allowed, *merged.allowed))

    def hold(self, day: date, error: DateHeld) -> None:
        """Record that `day` is held; a slice of a date and a dry run hold nothing, which their runs say."""
        if self._options.replaces_whole_dates and not self._options.dry_run:
            hold(self._connection, self._table, day, error, self._options.run_id)
