"""The merge: one date replaced whole and at once, by sets (rules 1, 2, 3 and 5).

Reads the temporary tables `records` and `kept` of the same connection; see `records`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.metrics import METRIC_HOUR, MetricTable, Ratio
from engarde_pipeline.postgres.records import has_no_good_record, matches
from engarde_pipeline.postgres.rejected import record_rejections
from engarde_pipeline.postgres.scope import Scope


class DateWouldShrink(EngardeError):
    """BigQuery has far fewer rows for a date than Postgres (rule 5); nothing was changed."""


@dataclass(frozen=True)
class Counts:
    """What became of one date's records (rule 2)."""

    processed: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0
    source_rows: int = 0

    @property
    def add_up(self) -> bool:
        """The accounting identity."""
        return self.processed == self.inserted + self.updated + self.unchanged + self.rejected

    @property
    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"{self.inserted} inserted, {self.updated} updated, {self.unchanged} unchanged,"
            f" {self.deleted} deleted, {self.rejected} rejected"
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class MergedDate:
    """One date as it now stands in Postgres: what was done, its number of rows and two of its sums."""

    counts: Counts
    rows: int
    spend: Decimal
    revenue: Decimal


_COUNTED = """
SELECT count(*) AS processed,
       count(reason) AS rejected,
       coalesce(sum(source_rows), 0)::bigint AS source_rows,
       (SELECT count(*) FROM {target} t WHERE t.metric_date = %(date)s AND {in_scope}) AS existing
FROM records
WHERE metric_date = %(date)s
"""

# BigQuery no longer has the record, and no bad record stands in its place.
_DELETE = """
DELETE FROM {target} t
WHERE t.metric_date = %(date)s
  AND {in_scope}
  AND {has_no_good_record}
  AND NOT EXISTS (
      SELECT FROM kept k
      WHERE k.metric_date = %(date)s AND {matches_k})
"""

# IS DISTINCT FROM keeps an unchanged row untouched: no new row version, no WAL, no trigger.
_UPDATE = """
UPDATE {target} t
SET tenant_id = r.tenant_id,
    platform = r.platform,
    {set_measures},
    {set_ratios},
    bigquery_sync_id = %(run_id)s,
    synced_from_bigquery_at = now()
FROM records r
WHERE t.metric_date = %(date)s
  AND r.metric_date = %(date)s
  AND r.reason IS NULL
  AND {matches_r}
  AND (t.tenant_id, t.platform, {t_measures}) IS DISTINCT FROM (r.tenant_id, r.platform, {r_measures})
"""

_INSERT = """
INSERT INTO {target} (tenant_id, {target_id}, platform, metric_date, {hour_column}
                      {measures}, {ratios}, bigquery_sync_id, synced_from_bigquery_at)
SELECT r.tenant_id, r.target_id, r.platform, r.metric_date, {hour_value}
       {r_measures}, {ratio_values}, %(run_id)s, now()
FROM records r
WHERE r.metric_date = %(date)s
  AND r.reason IS NULL
  AND NOT EXISTS (
      SELECT FROM {target} t
      WHERE t.metric_date = %(date)s AND {matches_r})
"""

_AS_IT_STANDS = """
SELECT count(*), coalesce(sum(t.spend), 0), coalesce(sum(t.revenue), 0)
FROM {target} t
WHERE t.metric_date = %(date)s AND {in_scope}
"""


def merge_date(
    connection: psycopg.Connection,
    table: MetricTable,
    day: date,
    scope: Scope,
    run_id: UUID,
    shrink_threshold: float | None,
) -> MergedDate:
    """Make `day` in Postgres what `records` says, within `scope`, in one transaction.

    A reader sees the date before or after, never between. `shrink_threshold` is the smallest share of the
    rows Postgres has that may be left; None where the caller says that shrinking is intended.

    Raises:
        DateWouldShrink: fewer would be left; nothing was changed.
        psycopg.Error: the database refused; nothing was changed.
    """
    statements = {name: _compose(text, table, scope) for name, text in _STATEMENTS.items()}
    values = {"date": day, "run_id": run_id, **scope.parameters}
    with connection.transaction():
        row = connection.execute(statements["counted"], values).fetchone()
        assert row is not None  # noqa: S101  an aggregate has one row
        processed, rejected, source_rows, existing = row
        deleted = connection.execute(statements["delete"], values).rowcount
        updated = connection.execute(statements["update"], values).rowcount
        inserted = connection.execute(statements["insert"], values).rowcount
        if shrink_threshold is not None:
            left = min(processed, existing - deleted + inserted)
            _refuse_to_shrink(table, day, processed, rejected, existing, left, shrink_threshold)
        record_rejections(connection, table, day, scope, run_id)
        stands = connection.execute(statements["as_it_stands"], values).fetchone()
        assert stands is not None  # noqa: S101
    counts = Counts(
        processed=processed,
        inserted=inserted,
        updated=updated,
        unchanged=processed - rejected - inserted - updated,
        rejected=rejected,
        deleted=deleted,
        source_rows=source_rows,
    )
    return MergedDate(counts, *stands)


def _refuse_to_shrink(
    table: MetricTable, day: date, processed: int, rejected: int, existing: int, left: int, threshold: float
) -> None:
    # Bad records do not make up for rows that go: an id format broken for a whole day looks like that.
    if existing and (left == 0 or left / existing < threshold):
        bad = f" ({rejected} of which cannot be loaded)" if rejected else ""
        raise DateWouldShrink(
            f"{table.target} {day}: BigQuery has {processed} records{bad} where Postgres has {existing} rows;"
            f" {left} would be left, less than the {threshold:.0%} that ENGARDE_SHRINK_THRESHOLD asks for, so"
            " nothing was changed. If the upstream load is broken, repair it and sync again; if the rows are"
            " meant to go, sync again with allow_shrink (--allow-shrink)."
        )


_STATEMENTS = {
    "counted": _COUNTED,
    "delete": _DELETE,
    "update": _UPDATE,
    "insert": _INSERT,
    "as_it_stands": _AS_IT_STANDS,
}


def _compose(text: LiteralString, table: MetricTable, scope: Scope) -> sql.Composed:
    has_hours = METRIC_HOUR in table.keys
    measures = [sql.Identifier(name) for name in table.measure_names]
    ratios = [sql.Identifier(ratio.name) for ratio in table.ratios]
    return sql.SQL(text).format(
        target=sql.Identifier(table.target),
        target_id=sql.Identifier(table.target_id),
        in_scope=scope.of_target(table),
        has_no_good_record=has_no_good_record(table),
        matches_r=matches(table, "r"),
        matches_k=matches(table, "k"),
        measures=_commas(measures),
        t_measures=_commas(sql.SQL("t.{}").format(name) for name in measures),
        r_measures=_commas(sql.SQL("r.{}").format(name) for name in measures),
        set_measures=_commas(sql.SQL("{0} = r.{0}").format(name) for name in measures),
        ratios=_commas(ratios),
        ratio_values=_commas(ratio_of(ratio, "r") for ratio in table.ratios),
        set_ratios=_commas(
            sql.SQL("{} = {}").format(sql.Identifier(ratio.name), ratio_of(ratio, "r")) for ratio in table.ratios
        ),
        hour_column=sql.SQL("metric_hour," if has_hours else ""),
        hour_value=sql.SQL("r.metric_hour," if has_hours else ""),
    )


def ratio_of(ratio: Ratio, alias: LiteralString) -> sql.Composed:
    """Return the expression for `ratio` over the sums of `alias`, NULL where its denominator is zero."""
    # The factor as numeric, or two counts would be divided as integers.
    return sql.SQL(f"{{}}::numeric * {alias}.{{}} / nullif({alias}.{{}}, 0)").format(
        sql.Literal(ratio.factor), sql.Identifier(ratio.numerator), sql.Identifier(ratio.denominator)
    )


def _commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
