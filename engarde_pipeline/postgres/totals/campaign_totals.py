"""The totals on `campaign_spaces`: sums of the campaign's rows, and ratios of those sums.

The cost of an update depends on what changed, not on the history. A merge notes each date that it changes. The
months of these dates are summed again into `campaign_space_months`, and the totals of the campaigns whose months
changed are computed from their months. If no date was noted, the totals of all campaigns are compared with their
months and corrected.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, CTR, ROAS
from engarde_pipeline.postgres.schema import application_schema
from engarde_pipeline.postgres.schema.application_schema import LAST_UPDATED, Column, Table, writable_totals
from engarde_pipeline.postgres.schema.tables import ratio_sql
from engarde_pipeline.postgres.sql_lists import sql_list

_MEASURES = CAMPAIGN_METRICS.measure_names

# An existing note is locked by the update, so that a transaction that collects it waits and then sees the new
# rows.
_NOTE = """
INSERT INTO changed_dates (metric_date) VALUES (%s)
ON CONFLICT (metric_date) DO UPDATE SET changed_at = now()
"""

_COLLECT = "DELETE FROM changed_dates RETURNING date_trunc('month', metric_date)::date"

# A separate statement, because Postgres does not use parallel workers in a statement that writes.
_SUM_MONTH = """
CREATE TEMPORARY TABLE month_sums AS
SELECT campaign_space_id, {sums_of_rows}
FROM campaign_metrics
WHERE metric_date >= {month} AND metric_date < {month} + interval '1 month'
GROUP BY campaign_space_id
"""

_KEEP_MONTH = """
WITH gone AS (
    DELETE FROM campaign_space_months m
    WHERE m.month = {month}
      AND NOT EXISTS (SELECT FROM month_sums s WHERE s.campaign_space_id = m.campaign_space_id)
    RETURNING campaign_space_id
), kept AS (
    INSERT INTO campaign_space_months AS m (campaign_space_id, month, {measures})
    SELECT campaign_space_id, {month}, {measures} FROM month_sums
    ON CONFLICT (campaign_space_id, month) DO UPDATE SET {set_measures}
    WHERE ({m_measures}) IS DISTINCT FROM ({excluded_measures})
    RETURNING campaign_space_id
)
INSERT INTO changed_campaigns SELECT * FROM gone UNION ALL SELECT * FROM kept
"""

# Campaigns without rows have totals of zero. Each number is cast to the type of its column, which may be narrower
# in the application's table; NULL if it does not fit, which only absurd input causes. Columns that cannot be
# written are skipped; an undefined ratio is 0 if its column is NOT NULL.
_TOTALS = """
WITH sums AS (
    SELECT c.id, {sums_or_zero}
    FROM campaign_spaces c
    LEFT JOIN {table} m ON m.campaign_space_id = c.id
    WHERE {chosen}
    GROUP BY c.id
), exact AS (
    SELECT *, {ctr} AS ctr, {roas} AS roas FROM sums
), totals AS (
    SELECT id, {fitted} FROM exact
)
"""

_CHANGED = "c.id IN (SELECT campaign_space_id FROM changed_campaigns)"

# A new campaign has no totals yet, and may never have a row.
_WITHOUT_TOTALS = """
INSERT INTO changed_campaigns SELECT id FROM campaign_spaces WHERE NOT ({total_columns}) IS NOT NULL
"""

_EVERY_CAMPAIGN = "INSERT INTO changed_campaigns SELECT id FROM campaign_spaces"

# Campaigns with equal totals are not updated, nor those whose sums do not fit, so that the others are updated.
_UPDATE = """
UPDATE campaign_spaces c
SET {set_totals}
FROM totals s
WHERE s.id = c.id
  AND {fits}
  AND ({columns}) IS DISTINCT FROM ({s_columns})
"""

_WRONG = """
SELECT count(*), count(*) FILTER (WHERE ({columns}) IS DISTINCT FROM ({s_columns}))
FROM campaign_spaces c
JOIN totals s USING (id)
"""

_WHOLE_NUMBERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


class TotalsRefused(EngardeError):
    """A constraint or trigger of the application rejects the totals."""


@dataclass(frozen=True)
class Totals:
    """The number of campaign spaces, and of those that were updated or are wrong."""

    campaign_spaces: int
    affected: int


def note_changed(connection: psycopg.Connection, day: date) -> None:
    """Note that rows of `day` changed, in the transaction that changed them."""
    connection.execute(_NOTE, [day])


def last_noted_change(connection: psycopg.Connection) -> datetime | None:
    """Return the time of the latest change that the totals do not include yet; None if there is none."""
    row = connection.execute("SELECT max(changed_at) FROM changed_dates").fetchone()
    return row[0] if row else None


def update_totals(connection: psycopg.Connection) -> Totals:
    """Bring the totals of every campaign space up to date in one transaction; `affected` were changed.

    Raises:
        ApplicationUnfit: `campaign_spaces` has no column that a total could be written to.
        TotalsRefused: a constraint or trigger of the application rejects the totals.
    """
    campaign_spaces = _campaign_spaces(connection)
    with connection.transaction():
        # Two updates of many rows in different orders would deadlock; the second one waits instead.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('campaign_spaces totals'))")
        connection.execute("SET LOCAL work_mem = '64MB'")  # else a month of 10,000 campaigns spills to disk
        connection.execute("CREATE TEMPORARY TABLE changed_campaigns (campaign_space_id uuid)")
        months = {month for (month,) in connection.execute(_COLLECT)}
        for month in sorted(months):
            _update_month(connection, month)
        connection.execute(_without_totals(campaign_spaces) if months else _EVERY_CAMPAIGN)
        connection.execute("ANALYZE changed_campaigns")  # an index is used for few campaigns, not for all
        updated = _update(
            connection, _totals_statement(campaign_spaces, _TOTALS + _UPDATE, "campaign_space_months", _CHANGED)
        )
        connection.execute("DROP TABLE changed_campaigns")
        row = connection.execute("SELECT count(*) FROM campaign_spaces").fetchone()
        assert row is not None  # noqa: S101  an aggregate has one row
    return Totals(row[0], updated)


def wrong_totals(connection: psycopg.Connection) -> Totals:
    """Compare the totals with the sums of all rows; `affected` campaign spaces differ."""
    campaign_spaces = _campaign_spaces(connection)
    statement = _totals_statement(campaign_spaces, _TOTALS + _WRONG, CAMPAIGN_METRICS.target, "true")
    row = connection.execute(statement).fetchone()
    assert row is not None  # noqa: S101  an aggregate has one row
    return Totals(*row)


def update_triggers(connection: psycopg.Connection) -> list[str]:
    """Return the triggers that can change or drop what is written to `campaign_spaces`."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'campaign_spaces'::regclass AND NOT tgisinternal"
            " AND tgenabled <> 'D' AND tgtype & 19 = 19 ORDER BY tgname"  # BEFORE UPDATE FOR EACH ROW
        )
    ]


def _update_month(connection: psycopg.Connection, month: date) -> None:
    for text in (_SUM_MONTH, _KEEP_MONTH, "DROP TABLE month_sums"):
        statement = sql.SQL(text).format(
            month=sql.Literal(month),
            sums_of_rows=sql_list("sum({name}) AS {name}", _MEASURES),
            measures=sql_list("{name}", _MEASURES),
            m_measures=sql_list("m.{name}", _MEASURES),
            excluded_measures=sql_list("excluded.{name}", _MEASURES),
            set_measures=sql_list("{name} = excluded.{name}", _MEASURES),
        )
        connection.execute(statement)


def _campaign_spaces(connection: psycopg.Connection) -> Table:
    return application_schema.check(connection)["campaign_spaces"]


def _update(connection: psycopg.Connection, statement: sql.Composed) -> int:
    try:
        return connection.execute(statement).rowcount
    except psycopg.DatabaseError as error:
        if isinstance(error, psycopg.OperationalError):
            raise  # transient, or a fault of the server
        raise TotalsRefused(
            f"Postgres rejects the totals of campaign_spaces: {error.diag.message_primary}. Change the constraint,"
            " domain or trigger of the application so that it accepts them, or drop it. The next sync updates the"
            " totals."
        ) from None


def _without_totals(campaign_spaces: Table) -> sql.Composed:
    sums = [name for name, total in writable_totals(campaign_spaces).items() if total in _MEASURES]
    return sql.SQL(_WITHOUT_TOTALS).format(total_columns=sql_list("{name}", sums) if sums else sql.SQL("1"))


def _totals_statement(
    campaign_spaces: Table, text: LiteralString, table: str, chosen: LiteralString
) -> sql.Composed:
    columns, written = campaign_spaces.columns, writable_totals(campaign_spaces)
    sums = [total for total in written.values() if total in _MEASURES]
    assignments = [
        sql.SQL("{} = s.{}").format(sql.Identifier(column), sql.Identifier(total))
        for column, total in written.items()
    ]
    if LAST_UPDATED in columns and columns[LAST_UPDATED].accepts_times:
        assignments.append(sql.SQL("{} = now()").format(sql.Identifier(LAST_UPDATED)))
    return sql.SQL(text).format(
        table=sql.Identifier(table),
        chosen=sql.SQL(chosen),
        sums_or_zero=sql_list("coalesce(sum(m.{name}), 0) AS {name}", _MEASURES),
        ctr=sql.SQL(ratio_sql(CTR)),
        roas=sql.SQL(ratio_sql(ROAS)),
        fitted=sql.SQL(", ").join(_fitted(total, columns[column]) for column, total in written.items()),
        set_totals=sql.SQL(", ").join(assignments),
        columns=sql_list("c.{name}", written.keys()),
        s_columns=sql_list("s.{name}", written.values()),
        fits=sql.SQL("({}) IS NOT NULL").format(sql_list("s.{name}", sums)) if sums else sql.SQL("true"),
    )


def _fitted(total: str, column: Column) -> sql.Composed:
    fitted = sql.SQL("CASE WHEN {name} < {limit} THEN {name}::{type} END").format(
        name=sql.Identifier(total), limit=sql.Literal(_limit(column.type)), type=sql.SQL(column.type)
    )
    if column.is_not_null and total not in _MEASURES:
        fitted = sql.SQL("coalesce({}, 0::{})").format(fitted, sql.SQL(column.type))
    return sql.SQL("{} AS {}").format(fitted, sql.Identifier(total))


def _limit(column_type: str) -> int:
    """Return the smallest number that may be too large for a column."""
    if match := re.fullmatch(r"numeric\((\d+),(\d+)\)", column_type):
        precision, scale = map(int, match.groups())
        return int(10 ** (precision - scale)) - 1  # it may be rounded up
    return _WHOLE_NUMBERS.get(column_type, 10**300)
