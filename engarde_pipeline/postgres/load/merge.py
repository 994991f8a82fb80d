"""The merge: replaces the rows of one date by its records in one statement (rules 1, 2, 3 and 5).

It reads the temporary tables `records` and `kept` of the same connection; see the module `records`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.currencies import ByCurrency, add, by_currency, subtract
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, METRIC_HOUR, MetricTable
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.change_notifications import ChangedDate, notify_changed
from engarde_pipeline.postgres.load.changes import Changes, changes_expression, changes_of
from engarde_pipeline.postgres.load.held_dates import DateWouldShrink, unless_allowed
from engarde_pipeline.postgres.load.locks import LOCK_IS_HELD, lock_parameters
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.records import PreparedRecords, Records, has_no_good_record, matches
from engarde_pipeline.postgres.load.rejected import RejectedRow, keep_rejected, open_rejections, resolve_rejected
from engarde_pipeline.postgres.load.removed_rows import delete_removals
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.load.synced_dates import note_synced
from engarde_pipeline.postgres.sql_lists import sql_list
from engarde_pipeline.postgres.totals.changed_dates import note_changed
from engarde_pipeline.postgres.totals.platform_days import compact

REJECTED_SHOWN = 20
"""The maximum number of rejected records that a merge returns; all are in `rejected_metric_rows`."""


class SessionLost(EngardeError):
    """The merge ran on a server connection other than the one with its lock and records, because of a pooler."""


@dataclass(frozen=True)
class MergedDate:
    """The result of merging one date: its counts, its number of rows in Postgres and their money by currency.

    `rejected` has up to `REJECTED_SHOWN` of its rejected records, and `rejected_spend` the spend of all of them,
    as far as it is known. `changes` is None if the date had no rows before, except in a dry run. `allowed` has the
    options without which the date would have been held.
    """

    counts: Counts
    rows: int
    spend: ByCurrency
    revenue: ByCurrency
    rejected: list[RejectedRow]
    rejected_spend: ByCurrency
    changes: Changes | None = None
    allowed: tuple[str, ...] = ()


# A full join of the date's good records with its rows finds the differences, which the other parts apply. IS
# DISTINCT FROM skips equal rows: no new row version, no WAL, no trigger. Kept rows are not deleted. Every access
# to the table filters by date, or the planner would read the whole table. The ORDER BY stores the rows of a tenant
# next to each other. The setting engarde.is_sync ends with the transaction; with it, the triggers on deleted rows,
# which fire at the end of the statement, ignore rows that a sync deletes.
_MERGE = """
WITH difference AS MATERIALIZED (
    SELECT t.id AS row_id, t.{target_id} AS old_target_id, t.currency AS old_currency, t.spend AS old_spend,
           t.revenue AS old_revenue, r.record_key, r.tenant_id, r.target_id, r.storage_order, r.platform,
           r.metric_hour, r.currency, {r_measures}
    FROM (SELECT * FROM records WHERE metric_date = %(date)s AND reason IS NULL) r
    FULL JOIN (SELECT * FROM {target} WHERE metric_date = %(date)s) t ON {matches_r}
    WHERE (t.tenant_id, t.platform, t.currency, {t_measures})
          IS DISTINCT FROM (r.tenant_id, r.platform, r.currency, {r_measures})
      AND (r.record_key IS NOT NULL
           OR {in_scope} AND NOT EXISTS (
               SELECT FROM kept k
               WHERE k.metric_date = %(date)s AND {matches_k}))
), deleted AS (
    DELETE FROM {target} t
    USING difference d
    WHERE t.metric_date = %(date)s AND t.id = d.row_id AND d.record_key IS NULL
    RETURNING 1
), updated AS (
    UPDATE {target} t
    SET tenant_id = d.tenant_id,
        platform = d.platform,
        currency = d.currency,
        {set_measures},
        bigquery_sync_id = %(run_id)s,
        synced_from_bigquery_at = now()
    FROM difference d
    WHERE t.metric_date = %(date)s AND t.id = d.row_id AND d.row_id IS NOT NULL AND d.record_key IS NOT NULL
    RETURNING 1
), inserted AS (
    INSERT INTO {target} (id, tenant_id, {target_id}, platform, metric_date, {hour_column}
                          currency, {measures}, bigquery_sync_id, synced_from_bigquery_at)
    SELECT {new_id}, d.tenant_id, d.target_id, d.platform, %(date)s, {hour_value}
           d.currency, {d_measures}, %(run_id)s, now()
    FROM difference d
    WHERE d.row_id IS NULL
    ORDER BY d.storage_order
    RETURNING 1
)
SELECT c.deleted, c.updated, c.inserted, c.is_proven, CASE WHEN {has_changes} THEN {changes} END
FROM (
    SELECT (SELECT count(*) FROM deleted) AS deleted,
           (SELECT count(*) FROM updated) AS updated,
           (SELECT count(*) FROM inserted) AS inserted,
           set_config('engarde.is_sync', 'on', true),
           coalesce(to_regclass('pg_temp.records')::oid = %(records_id)s, false) AND {is_held} AS is_proven
    OFFSET 0
) c
"""

# A first load has no sums before, and no changes but its own records.
_HAS_CHANGES = """
c.updated + c.deleted > 0
OR c.inserted > 0
   AND (c.inserted < %(good)s OR EXISTS (SELECT FROM kept k WHERE k.metric_date = %(date)s))
"""

# Kept rows that match no good record.
_KEPT = """
SELECT coalesce(sum(rows), 0)::bigint,
       coalesce(jsonb_object_agg(currency, spend::text), '{{}}'),
       coalesce(jsonb_object_agg(currency, revenue::text), '{{}}')
FROM (
    SELECT coalesce(t.currency, '') AS currency, count(*) AS rows, sum(t.spend) AS spend, sum(t.revenue) AS revenue
    FROM {target} t
    WHERE t.metric_date = %(date)s AND {in_scope}
      AND EXISTS (SELECT FROM kept k WHERE k.metric_date = %(date)s AND {matches_k})
      AND {has_no_good_record}
    GROUP BY 1
) by_currency
"""

# Time-ordered uuids (version 7) are adjacent in the index. The ids of a statement share the time and random bits
# of one uuid and differ by a counter (RFC 9562, 6.2), because random bits for each row would cost a system call
# each. The counter starts at 2^28, so that it always has 8 hexadecimal digits.
_NEW_ID = """
(%(id_prefix)s || to_hex(268435456 + row_number() OVER (ORDER BY d.storage_order)))::uuid
"""


def merge_date(
    connection: psycopg.Connection,
    table: MetricTable,
    day: date,
    prepared: PreparedRecords,
    options: LoadOptions,
    removals: Sequence[int] = (),
) -> MergedDate:
    """Replace the rows of `day` by its records, within the scope of the options, in one transaction.

    The caller holds the lock of the date. `removals` are the transactions that noted the date in `removed_rows`;
    the merge deletes these notes.

    Raises:
        DateWouldShrink: too few rows would remain; nothing was changed.
        SessionLost: the lock or the records belong to another connection; nothing was changed.
        psycopg.Error: the database reported an error; nothing was changed.
    """
    scope, run_id = options.scope, options.run_id
    records = prepared.of(day)
    good = records.processed - records.rejected
    values = {"date": day, "run_id": run_id, "id_prefix": _id_prefix(), "good": good, **scope.parameters}
    proof = {"records_id": prepared.table_id, **lock_parameters(table, day)}
    kept, spend, revenue = 0, records.spend, records.revenue
    allowed: list[str] = []
    with connection.transaction():
        try:
            deleted, updated, inserted, is_proven, found = _row(
                connection, _compose(_MERGE, table, scope, options.dry_run), values | proof
            )
        except psycopg.errors.UndefinedTable as error:
            if '"records"' not in str(error):
                raise
            is_proven, found = False, None
        if not is_proven:
            raise SessionLost(
                f"{table.target} {day}: the server connection has no lock or no staged rows of the date,"
                " so nothing was changed. A proxy in front of Postgres, such as a pooler in transaction mode, runs"
                " the transactions of a session on different connections. Connect directly to Postgres, or"
                " through a pooler in session mode."
            )
        # A slice also keeps rows for bad records outside the slice.
        if records.rejected or not options.replaces_whole_dates:
            kept, kept_spend, kept_revenue = _row(connection, _compose(_KEPT, table, scope), values)
            spend = add(spend, by_currency(kept_spend))
            revenue = add(revenue, by_currency(kept_revenue))
        counts = Counts(
            processed=records.processed,
            inserted=inserted,
            updated=updated,
            unchanged=good - inserted - updated,
            rejected=records.rejected,
            deleted=deleted,
            source_rows=records.source_rows,
        )
        existing = counts.loaded - counts.inserted + counts.deleted + kept
        if options.shrink_threshold is not None:
            with unless_allowed(options.allowed, allowed):
                _refuse_to_shrink(table, day, counts, existing, kept, options.shrink_threshold)
        if records.rejected:
            keep_rejected(connection, table, day, run_id)
        resolve_rejected(connection, table, day, scope)
        if removals:
            delete_removals(connection, table, day, removals)
        if table is CAMPAIGN_METRICS and (inserted or updated or deleted or removals):
            note_changed(connection, day)
            compact(connection, day)
        if inserted or updated or deleted:
            notify_changed(connection, ChangedDate(table, day))
        version = options.versions.get(day)
        if version is not None:
            note_synced(connection, table, day, version, run_id, records.source, options.read_at)
        rejected = open_rejections(connection, table, day, scope, REJECTED_SHOWN) if records.rejected else []
    changes = None
    if existing or options.dry_run:
        changes = changes_of(found, spend, revenue) if found else Changes(spend, revenue, [])
    return MergedDate(
        counts=counts,
        rows=counts.loaded + kept,
        spend=spend,
        revenue=revenue,
        rejected=rejected,
        rejected_spend=_rejected_spend(records),
        changes=changes,
        allowed=tuple(allowed),
    )


def _row(connection: psycopg.Connection, statement: sql.Composed, values: dict[str, object]) -> tuple[Any, ...]:
    row = connection.execute(statement, values).fetchone()
    assert row is not None  # noqa: S101  each of these statements returns one row
    return row


def _rejected_spend(records: Records) -> ByCurrency:
    spend = subtract(records.source.spend, records.spend) if records.rejected else {}
    return {currency: amount for currency, amount in spend.items() if amount}


def _id_prefix() -> str:
    """Return all but the last 8 hexadecimal digits of a new uuid (version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    return str(UUID(int=(milliseconds << 80) | (uuid4().int & ~(~0 << 80) & ~(0xF << 76)) | (7 << 76)))[:-8]


def _refuse_to_shrink(
    table: MetricTable, day: date, counts: Counts, existing: int, kept: int, threshold: float
) -> None:
    # Bad records do not compensate for rows that are deleted: a broken id format would make all records bad.
    left = min(counts.processed, counts.loaded + kept)
    if existing and (left == 0 or left / existing < threshold):
        bad = f" ({counts.rejected} of which cannot be loaded)" if counts.rejected else ""
        raise DateWouldShrink(
            f"{table.target} {day}: BigQuery has {counted(counts.processed, 'record')}{bad} where Postgres has"
            f" {counted(existing, 'row')}; {left} would be left, less than the {threshold:.0%} that"
            " ENGARDE_SHRINK_THRESHOLD requires, so nothing was changed. If the load into BigQuery is incomplete,"
            " repair it and sync again. If the rows were removed on purpose, sync again with allow_shrink"
            " (--allow-shrink)."
        )


def _compose(text: LiteralString, table: MetricTable, scope: Scope, dry_run: bool = False) -> sql.Composed:
    has_hours = METRIC_HOUR in table.keys
    measures = table.measure_names
    return sql.SQL(text).format(
        target=sql.Identifier(table.target),
        target_id=sql.Identifier(table.target_id),
        new_id=sql.SQL(_NEW_ID),
        is_held=sql.SQL(LOCK_IS_HELD),
        in_scope=scope.of_target(table),
        has_changes=sql.SQL("true" if dry_run else _HAS_CHANGES),
        changes=changes_expression(table),
        has_no_good_record=has_no_good_record(table),
        matches_r=matches(table, "r"),
        matches_k=matches(table, "k"),
        measures=sql_list("{name}", measures),
        t_measures=sql_list("t.{name}", measures),
        r_measures=sql_list("r.{name}", measures),
        d_measures=sql_list("d.{name}", measures),
        set_measures=sql_list("{name} = d.{name}", measures),
        hour_column=sql.SQL("metric_hour," if has_hours else ""),
        hour_value=sql.SQL("d.metric_hour," if has_hours else ""),
    )
