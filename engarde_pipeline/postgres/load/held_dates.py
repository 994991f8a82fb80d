"""Held dates: loads that look wrong are refused, and the date keeps its rows (rules 5 and 12).

A date is held if it would lose most of its rows (`DateWouldShrink`), if its source rows look as if an upstream
load had run more than once (`DateIsRepeated`), or if it has grown long after it was complete (`DateHasGrown`).
The caller of a sync can allow it. The table `held_dates` has what was found, until the date is synced.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

import psycopg
from psycopg import sql

from engarde_pipeline.core.currencies import ByCurrency, by_currency
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.sql_lists import sql_list

FEWEST_ROWS = 20
"""A date with fewer source rows or records is not held: chance could explain it."""

_REPEATED_SHARE = Decimal("0.95")

COMPLETE_AFTER_DAYS = 2
"""A date that is synced so many days after it is complete: it has ended everywhere, and its numbers are there."""


class DateHeld(EngardeError):
    """The load of a date was refused; nothing was changed.

    `reason` is its code in `held_dates`, and `option` the option with which the date is synced anyway.
    """

    reason: ClassVar[str]
    option: ClassVar[str]


class DateWouldShrink(DateHeld):
    """BigQuery has far fewer rows for a date than Postgres (rule 5)."""

    reason = "would_shrink"
    option = "allow_shrink"


class DateIsRepeated(DateHeld):
    """Nearly all source rows of a date occur the same number of times (rule 12)."""

    reason = "repeated"
    option = "allow_growth"


class DateHasGrown(DateHeld):
    """BigQuery has far more for a complete date than at its last sync (rule 12)."""

    reason = "grown"
    option = "allow_growth"


@contextmanager
def unless_allowed(options: Collection[str], used: list[str]) -> Iterator[None]:
    """Raise the `DateHeld` of the block, unless its option is among `options`; then add the option to `used`."""
    try:
        yield
    except DateHeld as error:
        if error.option not in options:
            raise
        used.append(error.option)


@dataclass(frozen=True)
class SourceSums:
    """What BigQuery has for a date, rejected records included."""

    source_rows: int
    records: int
    impressions: Decimal
    spend: ByCurrency


NOTHING = SourceSums(0, 0, Decimal(0), {})


@dataclass(frozen=True)
class Repetition:
    """Rows of one date that occur `times` times each: `rows` of `of_rows` rows with measures other than zero.

    `subject` says which of the date's rows are meant; `example` is one that is repeated.
    """

    subject: str
    times: int
    rows: int
    of_rows: int
    example: str


# Rows without any number are left out: platforms report many of them, all alike. A part of the date (a platform or
# a tenant) needs as many different rows as the whole date needs rows, because a campaign with equal ad sets is
# one row many times. Usually, few rows are repeated, and the rest of the statement reads next to nothing.
_REPEATED = """
WITH repeated_rows AS MATERIALIZED (
    SELECT metric_date, key_number, count(*) AS times
    FROM staged s
    WHERE {has_numbers}
    GROUP BY metric_date, key_number, {measures}
    HAVING count(*) > 1
), repeated AS (
    SELECT r.metric_date, k.platform, k.tenant_key, r.times,
           sum(r.times) AS rows, min(r.key_number) AS key_number,
           sum(sum(r.times) - count(*)) OVER part AS superfluous_rows,
           GROUPING(k.platform, k.tenant_key) AS part
    FROM repeated_rows r
    JOIN subjects k USING (key_number)
    GROUP BY GROUPING SETS ((r.metric_date, r.times), (r.metric_date, k.platform, r.times),
                            (r.metric_date, k.tenant_key, r.times))
    WINDOW part AS (PARTITION BY r.metric_date, GROUPING(k.platform, k.tenant_key), k.platform, k.tenant_key)
), all_rows AS (
    SELECT s.metric_date, k.platform, k.tenant_key, count(*) AS rows, GROUPING(k.platform, k.tenant_key) AS part
    FROM staged s
    JOIN subjects k USING (key_number)
    WHERE ({has_numbers})
      AND s.metric_date IN (SELECT metric_date FROM repeated WHERE rows >= %(share)s * %(fewest)s)
    GROUP BY GROUPING SETS ((s.metric_date), (s.metric_date, k.platform), (s.metric_date, k.tenant_key))
)
SELECT DISTINCT ON (r.metric_date)
       r.metric_date, r.part, r.platform, r.tenant_key, r.times, r.rows, a.rows, k.campaign_id, k.platform
FROM repeated r
JOIN all_rows a
    ON a.metric_date = r.metric_date
    AND a.part = r.part
    AND (a.platform, a.tenant_key) IS NOT DISTINCT FROM (r.platform, r.tenant_key)
JOIN subjects k USING (key_number)
WHERE r.rows >= %(share)s * a.rows
  AND CASE r.part WHEN {whole} THEN a.rows ELSE a.rows - r.superfluous_rows END >= %(fewest)s
ORDER BY r.metric_date, r.part DESC, r.rows DESC
"""

# GROUPING has a bit for each column that is not grouped by: 2 for the platform, 1 for the tenant.
_WHOLE, _OF_A_PLATFORM = 3, 1


def repeated_dates(connection: psycopg.Connection, table: MetricTable) -> dict[date, Repetition]:
    """Return what is repeated of each staged date that looks repeated: all of it, one platform or one tenant.

    It reads the temporary tables `staged` and `subjects`; see the module `session`.
    """
    statement = sql.SQL(_REPEATED).format(
        has_numbers=sql_list("s.{name} <> 0", table.measure_names, " OR "),
        measures=sql_list("{name}", table.measure_names),
        whole=sql.Literal(_WHOLE),
    )
    found = connection.execute(statement, {"share": _REPEATED_SHARE, "fewest": FEWEST_ROWS})
    repeated = {}
    for day, part, platform, tenant, times, rows, of_rows, campaign, of_platform in found:
        parts = {_WHOLE: "the", _OF_A_PLATFORM: f"{platform}'s"}
        repeated[day] = Repetition(
            subject=parts.get(part, f"tenant {tenant}'s"),
            times=times,
            rows=int(rows),
            of_rows=int(of_rows),
            example=f"campaign {campaign} on {of_platform}",
        )
    return repeated


def check_not_repeated(table: MetricTable, day: date, repetition: Repetition | None) -> None:
    """Refuse a date that looks repeated.

    Raises:
        DateIsRepeated: it does.
    """
    if repetition:
        raise DateIsRepeated(
            f"{table.target} {day}: {repetition.rows:,} of {repetition.subject} {repetition.of_rows:,} source rows"
            f" occur {repetition.times} times each, equal in every column (for example {repetition.example}), as"
            f" if the load into BigQuery had run {repetition.times} times, so nothing was changed. Repair the"
            " source, and the date is synced again. If the rows are right, sync again with allow_growth"
            " (--allow-growth)."
        )


def check_not_grown(
    table: MetricTable, day: date, now: SourceSums, last: "LastSync | None", threshold: float
) -> None:
    """Refuse a date that was complete at its last sync and has far more now.

    Raises:
        DateHasGrown: source rows, impressions or spend are more than `threshold` times what they were.
    """
    if last is None or not last.is_complete(day) or last.source.records < FEWEST_ROWS:
        return
    grown = [
        f"{name} {before:,} -> {after:,} ({after / before:.3g} times)"
        for name, before, after in _compared(last.source, now)
        if before > 0 and after > before * Decimal(str(threshold))
    ]
    if grown:
        raise DateHasGrown(
            f"{table.target} {day}: BigQuery has more than {threshold:g} times what it had when the date was last"
            f" synced, complete, on {last.synced_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {', '.join(grown)}."
            f" ENGARDE_GROWTH_THRESHOLD is {threshold:g}, so nothing was changed. If the load into BigQuery ran"
            " more than once, repair it, and the date is synced again. If the numbers are right, sync again with"
            " allow_growth (--allow-growth)."
        )


def _compared(before: SourceSums, after: SourceSums) -> Iterator[tuple[str, Decimal, Decimal]]:
    yield "source rows", Decimal(before.source_rows), Decimal(after.source_rows)
    yield "impressions", before.impressions, after.impressions
    for currency, spend in before.spend.items():
        yield f"spend {currency}".strip(), spend, after.spend.get(currency, Decimal(0))


@dataclass(frozen=True)
class LastSync:
    """When a date was last synced, and what BigQuery had then."""

    synced_at: datetime
    source: SourceSums

    def is_complete(self, day: date) -> bool:
        """Return whether the date was complete."""
        return self.synced_at.astimezone(UTC).date() >= day + timedelta(days=COMPLETE_AFTER_DAYS)


def last_syncs(connection: psycopg.Connection, table: MetricTable, days: Sequence[date]) -> dict[date, LastSync]:
    """Return the last sync of each of `days`; without those by a version of the pipeline before migration 0009."""
    rows = connection.execute(
        """
        SELECT metric_date, synced_at, source_rows, records, impressions, spend
        FROM synced_dates
        WHERE table_name = %s AND metric_date = ANY(%s) AND source_run_id = run_id
        """,
        [table.target, list(days)],
    )
    return {
        day: LastSync(synced_at, SourceSums(source_rows, records, impressions, by_currency(spend)))
        for day, synced_at, source_rows, records, impressions, spend in rows
    }


def hold(connection: psycopg.Connection, table: MetricTable, day: date, error: DateHeld, run_id: UUID) -> None:
    """Record that a date is held."""
    connection.execute(
        """
        INSERT INTO held_dates AS h (table_name, metric_date, reason, evidence, run_id)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (table_name, metric_date) DO UPDATE
        SET reason = excluded.reason, evidence = excluded.evidence, run_id = excluded.run_id
        """,
        [table.target, day, error.reason, str(error), run_id],
    )


def held_among(connection: psycopg.Connection, table: MetricTable, days: Sequence[date]) -> set[date]:
    """Return which of `days` are held."""
    rows = connection.execute(
        "SELECT metric_date FROM held_dates WHERE table_name = %s AND metric_date = ANY(%s)",
        [table.target, list(days)],
    )
    return {day for (day,) in rows}


def release(connection: psycopg.Connection, table: MetricTable, day: date) -> None:
    """Record that a date is synced, and so no longer held."""
    connection.execute("DELETE FROM held_dates WHERE table_name = %s AND metric_date = %s", [table.target, day])
