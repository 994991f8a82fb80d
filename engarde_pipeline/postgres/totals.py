"""The totals on `campaign_spaces`: sums of the campaign's rows, and ratios of those sums."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.metrics import CAMPAIGN_METRICS, CTR, ROAS, MetricTable
from engarde_pipeline.postgres.merge import ratio_of

# Campaigns without rows have totals of zero; campaigns whose totals stand are left untouched. A sum too large
# for its column (only absurd input gets there) must not stop the other campaigns: it is left, and reported.
_TOTALS = """
WITH sums AS (
    SELECT c.id, {sums}
    FROM campaign_spaces c
    LEFT JOIN {table} m ON m.campaign_space_id = c.id
    GROUP BY c.id
)
"""

_UPDATE = """
UPDATE campaign_spaces c
SET {set_totals},
    avg_ctr = {ctr},
    avg_roas = {roas},
    performance_last_updated = now()
FROM sums s
WHERE s.id = c.id
  AND {fits}
  AND ({totals}, c.avg_ctr, c.avg_roas) IS DISTINCT FROM ({s_sums}, {ctr}, {roas})
"""

_WRONG = """
SELECT count(*), count(*) FILTER (WHERE ({totals}) IS DISTINCT FROM ({s_sums}))
FROM campaign_spaces c
JOIN sums s USING (id)
"""


@dataclass(frozen=True)
class Totals:
    """How many campaign spaces there are, and for how many the statement in question holds."""

    campaign_spaces: int
    affected: int


def update_totals(connection: psycopg.Connection) -> Totals:
    """Bring the totals of every campaign space up to date in one statement; `affected` were changed."""
    with connection.transaction():
        # Two updates of many rows in different orders would deadlock; the second one waits instead.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('campaign_spaces totals'))")
        updated = connection.execute(_compose(_TOTALS + _UPDATE)).rowcount
        row = connection.execute("SELECT count(*) FROM campaign_spaces").fetchone()
        assert row is not None  # noqa: S101  an aggregate has one row
    return Totals(row[0], updated)


def wrong_totals(connection: psycopg.Connection) -> Totals:
    """Compare the totals with the sums of the rows; `affected` campaign spaces differ."""
    row = connection.execute(_compose(_TOTALS + _WRONG)).fetchone()
    assert row is not None  # noqa: S101  an aggregate has one row
    return Totals(*row)


def _compose(text: LiteralString, table: MetricTable = CAMPAIGN_METRICS) -> sql.Composed:
    names = table.measure_names
    return sql.SQL(text).format(
        table=sql.Identifier(table.target),
        sums=_each("coalesce(sum(m.{0}), 0) AS {0}", names),
        set_totals=_each("{total} = s.{0}", names),
        totals=_each("c.{total}", names),
        s_sums=_each("s.{0}", names),
        fits=sql.SQL(" AND ").join(
            sql.SQL("s.{} < {}").format(sql.Identifier(measure.name), sql.Literal(measure.limit))
            for measure in table.measures
        ),
        ctr=ratio_of(CTR, "s"),
        roas=ratio_of(ROAS, "s"),
    )


def _each(template: LiteralString, names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL(template).format(sql.Identifier(name), total=sql.Identifier(f"total_{name}")) for name in names
    )
