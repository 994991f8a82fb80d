"""Sums per campaign or asset over blocks of dates, so that the API adds up few of them for many dates.

A block has 4, 16, 64 or 256 dates, counted from 1970-01-01, so that each consists of four blocks of the size
below; the smallest are summed from rows. Any range of dates is a few blocks and at most six other dates.

A block has the version of the rows that it was summed from: the sum of a hash for each part in `platform_days` of
its tenant and dates. Every transaction that changes rows adds parts (migrations 0005, 0014), and a part's hash
includes the transaction's id. So a block is valid if its version is that of the parts in the reader's snapshot,
whoever has written; a reader sums rows where it is not. Updating the blocks late makes reads slower, never wrong.
"""

from datetime import date, timedelta
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.advisory_locks import DEFAULT_WAIT, AdvisoryLock, LockWait, acquire
from engarde_pipeline.postgres.sql_lists import sql_list

BLOCK_DAYS = (4, 16, 64, 256)

PLATFORM_DAYS: dict[str, LiteralString] = {
    CAMPAIGN_METRICS.target: "platform_days",
    ASSET_METRICS.target: "asset_platform_days",
}
"""The table with the sums per tenant, date and platform of a table."""

SUBJECTS: dict[str, LiteralString] = {
    CAMPAIGN_METRICS.target: "campaign_space_id",
    ASSET_METRICS.target: "campaign_asset_id",
}
"""The column of a table that says what its rows are numbers of."""

VERSION: LiteralString = "sum(hashtextextended(concat_ws(' ', metric_date, platform, xmin), 0))"
"""The version of rows, over their parts in the table of `PLATFORM_DAYS`. All sessions write dates alike."""

_EPOCH = date(1970, 1, 1)

_LOCK = AdvisoryLock(
    "the blocks of metrics",
    "hashtext(%(name)s)",
    "l.classid = (hashtext(%(name)s)::bigint >> 32 & 4294967295)::oid"
    " AND l.objid = (hashtext(%(name)s)::bigint & 4294967295)::oid AND l.objsubid = 1",
    {"name": "metric_blocks"},
    is_transactional=True,
)

_DUE = "SELECT DISTINCT metric_date FROM due_blocks WHERE table_name = %s"

_COLLECT = """
WITH collected AS (
    DELETE FROM due_blocks WHERE table_name = %(table_name)s AND metric_date BETWEEN %(first)s AND %(last)s
    RETURNING metric_date
)
SELECT DISTINCT metric_date FROM collected
"""

# Those of campaign metrics are combined by the sync, in `platform_days.compact`.
_COMPACT_ASSETS = """
WITH crowded AS (
    SELECT tenant_id, metric_date FROM asset_platform_days
    WHERE metric_date = ANY(%(dates)s)
    GROUP BY tenant_id, metric_date, platform, currency
    HAVING count(*) > 1 OR sum(row_count) = 0
), parts AS (
    DELETE FROM asset_platform_days
    WHERE metric_date = ANY(%(dates)s) AND (tenant_id, metric_date) IN (SELECT tenant_id, metric_date FROM crowded)
    RETURNING *
)
INSERT INTO asset_platform_days (tenant_id, metric_date, platform, currency, row_count, {measures})
SELECT tenant_id, metric_date, platform, currency, sum(row_count), {sums}
FROM parts
GROUP BY tenant_id, metric_date, platform, currency
HAVING sum(row_count) <> 0
"""

# One statement, so one snapshot: a version is that of exactly the rows that are summed with it. The versions of
# larger blocks are those of the blocks that they are summed from. If one of these is missing or not current, the
# larger block is not current either, until the next update.
_UPDATE = """
WITH current AS MATERIALIZED (
    {versions}
), outdated AS MATERIALIZED (
    SELECT tenant_id, first_date, c.version
    FROM current c
    FULL JOIN (
        SELECT tenant_id, first_date, version
        FROM metric_blocks
        WHERE table_name = %(table_name)s AND days = %(days)s AND first_date = ANY(%(first_dates)s)
    ) b USING (tenant_id, first_date)
    WHERE c.version IS DISTINCT FROM b.version
), blocks AS (
    SELECT b.id, o.version
    FROM metric_blocks b
    JOIN outdated o USING (tenant_id, first_date)
    WHERE b.table_name = %(table_name)s AND b.days = %(days)s
), removed AS (
    DELETE FROM metric_block_sums WHERE block_id IN (SELECT id FROM blocks)
), emptied AS (
    DELETE FROM metric_blocks WHERE id IN (SELECT id FROM blocks WHERE version IS NULL)
), updated AS (
    INSERT INTO metric_blocks (table_name, tenant_id, days, first_date, version)
    SELECT %(table_name)s, tenant_id, %(days)s, first_date, version FROM outdated WHERE version IS NOT NULL
    ON CONFLICT (table_name, tenant_id, days, first_date) DO UPDATE SET version = excluded.version
    RETURNING id, tenant_id, first_date
)
INSERT INTO metric_block_sums (block_id, tenant_id, subject_id, platform, currency, {measures})
{sums}
"""

_VERSIONS_OF_PARTS = """
SELECT tenant_id, {first_date} AS first_date, {version} AS version
FROM {platform_days}
WHERE metric_date = ANY(%(dates)s)
GROUP BY 1, 2
"""
_VERSIONS_OF_BLOCKS = """
SELECT tenant_id, {first_date} AS first_date, sum(version) AS version
FROM metric_blocks
WHERE table_name = %(table_name)s AND days = %(part_days)s AND first_date = ANY(%(dates)s)
GROUP BY 1, 2
"""
# Lateral, so that an index finds the rows of each block, however badly the number of blocks is estimated.
_SUMS_OF_ROWS = """
SELECT u.id, u.tenant_id, m.*
FROM updated u
CROSS JOIN LATERAL (
    SELECT {subject}, platform, currency, {sums}
    FROM {table}
    WHERE tenant_id = u.tenant_id AND metric_date BETWEEN u.first_date AND u.first_date + %(days)s - 1
    GROUP BY 1, 2, 3
) m
"""
_SUMS_OF_BLOCKS = """
SELECT u.id, u.tenant_id, m.*
FROM updated u
CROSS JOIN LATERAL (
    SELECT subject_id, platform, currency, {sums}
    FROM metric_block_sums
    WHERE block_id = ANY(ARRAY(
        SELECT b.id
        FROM metric_blocks b
        WHERE b.table_name = %(table_name)s AND b.tenant_id = u.tenant_id AND b.days = %(part_days)s
          AND b.first_date BETWEEN u.first_date AND u.first_date + %(days)s - 1
    ))
    GROUP BY 1, 2, 3
) m
"""


def update_blocks(connection: psycopg.Connection, wait: LockWait = DEFAULT_WAIT) -> None:
    """Sum the blocks again whose rows have changed; the largest block of dates at a time, each in a transaction.

    Not within a transaction that changes rows: the parts of these rows can have the same version again later.

    Raises:
        StillLocked: another run has been updating them for too long.
        WaitStopped: this run was asked to end while it waited for another one.
    """
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        due = [day for (day,) in connection.execute(_DUE, [table.target])]
        for first_date in sorted({_first_date(day, BLOCK_DAYS[-1]) for day in due}):
            with connection.transaction():
                acquire(connection, _LOCK, wait)
                _update(connection, table, first_date)


def _update(connection: psycopg.Connection, table: MetricTable, first_date: date) -> None:
    """Update the blocks within the largest one that begins on `first_date`."""
    connection.execute("SET LOCAL work_mem = '64MB'")
    values = {
        "table_name": table.target,
        "first": first_date,
        "last": first_date + timedelta(BLOCK_DAYS[-1] - 1),
    }
    due = [day for (day,) in connection.execute(_COLLECT, values)]
    if table is ASSET_METRICS:
        connection.execute(_compose(_COMPACT_ASSETS, table), {"dates": due})
    part_days = 1
    for days in BLOCK_DAYS:
        first_dates = sorted({_first_date(day, days) for day in due})
        parts = [first + timedelta(n) for first in first_dates for n in range(0, days, part_days)]
        connection.execute(
            _update_statement(table, days, part_days),
            {**values, "days": days, "part_days": part_days, "first_dates": first_dates, "dates": parts},
        )
        part_days = days


def _first_date(day: date, days: int) -> date:
    """Return the first date of the block of so many days that has `day`."""
    return day - timedelta((day - _EPOCH).days % days)


def _update_statement(table: MetricTable, days: int, part_days: int) -> sql.Composed:
    from_rows = part_days == 1
    first_date = sql.SQL("{date} - ({date} - {epoch}::date) %% {days}").format(
        date=sql.Identifier("metric_date" if from_rows else "first_date"),
        epoch=sql.Literal(_EPOCH),
        days=sql.Literal(days),
    )
    return sql.SQL(_UPDATE).format(
        versions=_compose(_VERSIONS_OF_PARTS if from_rows else _VERSIONS_OF_BLOCKS, table, first_date=first_date),
        measures=sql_list("{name}", table.measure_names),
        sums=_compose(_SUMS_OF_ROWS if from_rows else _SUMS_OF_BLOCKS, table, first_date=first_date),
    )


def _compose(text: LiteralString, table: MetricTable, **names: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(
        table=sql.Identifier(table.target),
        platform_days=sql.Identifier(PLATFORM_DAYS[table.target]),
        subject=sql.Identifier(SUBJECTS[table.target]),
        version=sql.SQL(VERSION),
        measures=sql_list("{name}", table.measure_names),
        sums=sql_list("sum({name})", table.measure_names),
        **names,
    )
