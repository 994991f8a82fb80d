"""What the API asks of the metric tables: sums over groups, and ratios of those sums.

The role that asks sees one tenant's rows only (migration 0003). The tenant stands in each condition all the same:
it is what the index is on, and isolation hangs on neither alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import sql

from engarde_pipeline.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.tables import ratio_sql

GroupBy = Literal["date", "campaign", "platform"]
_COLUMNS: dict[GroupBy, LiteralString] = {
    "date": "metric_date",
    "campaign": "campaign_space_id",
    "platform": "platform",
}

# One group more than asked for says that there are more.
_GROUPS = """
WITH sums AS (
    SELECT {column} AS group_key, {sums}
    FROM campaign_metrics
    WHERE {conditions}
    GROUP BY 1
)
SELECT s.*, {ratios}, (SELECT count(*) FROM sums) AS groups
FROM sums s
WHERE {after}
ORDER BY 1
LIMIT %(limit)s + 1
"""

_SUMMARY = """
WITH sums AS (
    SELECT count(DISTINCT metric_date) AS days_tracked, {sums}
    FROM campaign_metrics
    WHERE {conditions}
)
SELECT s.*, {ratios} FROM sums s
"""

# The views show the tenant's own only.
_CAMPAIGNS = sql.SQL("SELECT id FROM engarde_api.campaign_spaces WHERE id = ANY(%(ids)s)")
_ON_PLATFORM = sql.SQL("SELECT id FROM engarde_api.campaign_spaces WHERE platform = %(platform)s LIMIT 1")
_TENANT = sql.SQL("SELECT id FROM engarde_api.tenants")

_TENANT_AND_DATES = "tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s"
_NARROWING = {
    "campaign_space_ids": " AND campaign_space_id = ANY(%(campaign_space_ids)s)",
    "platform": " AND platform = %(platform)s",
}

Statement = tuple[sql.SQL | sql.Composed, dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """Whose numbers of which dates, both ends included. None narrows nothing."""

    tenant_id: UUID
    start: date
    end: date
    campaign_space_ids: Sequence[UUID] | None = None
    platform: str | None = None


def groups(wanted: Wanted, by: GroupBy, limit: int, after: object = None) -> Statement:
    """Return the query for up to `limit` groups of `wanted` (and one more, if there is one) by their keys, those
    behind the key `after`: `group_key`, the measures' sums, the ratios, and the number of all `groups`.
    """
    statement = sql.SQL(_GROUPS).format(
        column=sql.Identifier(_COLUMNS[by]),
        sums=_sums(),
        ratios=_ratios(),
        conditions=_conditions(wanted),
        after=sql.SQL("true" if after is None else "s.group_key > %(after)s"),
    )
    return statement, {**vars(wanted), "limit": limit, "after": after}


def summary(wanted: Wanted) -> Statement:
    """Return the query for the sums and ratios over all of `wanted`, and its number of dates: one row."""
    statement = sql.SQL(_SUMMARY).format(sums=_sums(), ratios=_ratios(), conditions=_conditions(wanted))
    return statement, vars(wanted)


def campaigns(ids: Sequence[UUID]) -> Statement:
    """Return the query for those of the campaign spaces that are the tenant's: their `id`."""
    return _CAMPAIGNS, {"ids": list(ids)}


def a_campaign_on(platform: str) -> Statement:
    """Return the query for one of the tenant's campaign spaces on a platform, if there is one."""
    return _ON_PLATFORM, {"platform": platform}


def the_tenant() -> Statement:
    """Return the query for the tenant itself: one row, or none where it does not exist."""
    return _TENANT, {}


def _sums() -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("coalesce(sum({0}), 0) AS {0}").format(sql.Identifier(name))
        for name in CAMPAIGN_METRICS.measure_names
    )


def _ratios() -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL(ratio_sql(ratio)) + sql.SQL(" AS ") + sql.Identifier(ratio.name)
        for ratio in CAMPAIGN_METRICS.ratios
    )


def _conditions(wanted: Wanted) -> sql.SQL:
    narrowing = "".join(text for name, text in _NARROWING.items() if getattr(wanted, name) is not None)
    return sql.SQL(_TENANT_AND_DATES + narrowing)
