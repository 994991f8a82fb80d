"""What the API asks of the metric tables: sums over groups, and ratios of those sums.

The role that asks sees one tenant's rows only (migrations 0003, 0005). The tenant stands in each condition all the
same: it is what the index is on, and isolation hangs on neither alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.schema.tables import platform_days, ratio_sql

GroupBy = Literal["date", "campaign", "platform"]
KEYS: dict[GroupBy, LiteralString] = {"date": "date", "campaign": "campaign_space_id", "platform": "platform"}
"""The name of a group's key in an answer."""

_COLUMNS: dict[GroupBy, LiteralString] = {
    "date": "metric_date",
    "campaign": "campaign_space_id",
    "platform": "platform",
}

# The groups are JSON when they leave Postgres: there is nothing left to do about hundreds of them in Python.
_GROUPS = """
WITH sums AS (
    SELECT {column} AS {key}, {sums}
    FROM {table}
    WHERE {conditions}
    GROUP BY 1
    HAVING {is_there}
), open AS (
    SELECT * FROM sums s WHERE {after}
), page AS (
    SELECT s.*, {ratios} FROM open s ORDER BY {key} LIMIT %(limit)s
)
SELECT coalesce(json_agg(page ORDER BY {key}), '[]')::text AS groups,
       CASE WHEN count(*) < (SELECT count(*) FROM open) THEN max({key}::text) END AS next_key,
       (SELECT count(*) FROM sums) AS total
FROM page
"""

# Whatever changes a row of campaign_metrics adds a part to its sum, in the same transaction, which xmin names.
_STATE = """
WITH sums AS (
    SELECT concat_ws(' ', metric_date, platform, xmin) AS written
    FROM platform_days
    WHERE {conditions}
)
SELECT coalesce(md5(string_agg(written, ',' ORDER BY written)), '') AS state FROM sums
"""

_CAMPAIGN = """
WITH sums AS (
    SELECT metric_date AS date, {sums}
    FROM campaign_metrics
    WHERE {conditions}
    GROUP BY 1
), points AS (
    SELECT s.*, {ratios} FROM sums s
), summary AS (
    SELECT count(*) AS days_tracked, {sums} FROM sums
)
SELECT (SELECT coalesce(json_agg(points ORDER BY date), '[]')::text FROM points) AS points,
       s.*, {ratios}
FROM summary s
"""

# These views show the tenant's own only.
_CAMPAIGNS = sql.SQL("SELECT id, platform FROM engarde_api.campaign_spaces WHERE id = ANY(%(ids)s)")
# A campaign that has another platform by now leaves numbers on the one before.
_PLATFORM = sql.SQL("""
SELECT %(platform)s AS platform
WHERE EXISTS (SELECT FROM engarde_api.campaign_spaces WHERE platform = %(platform)s)
   OR EXISTS (SELECT FROM platform_days WHERE tenant_id = %(tenant_id)s AND platform = %(platform)s)
""")
_TENANT = sql.SQL("SELECT id FROM engarde_api.tenants")

_TENANT_AND_DATES = "tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s"
_NARROWING = {
    "campaign_space_ids": " AND campaign_space_id = ANY(%(campaign_space_ids)s)",
    "platform": " AND platform = %(platform)s",
}

Statement = tuple[sql.SQL | bytes, dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """Whose numbers of which dates, both ends included. None narrows nothing."""

    tenant_id: UUID
    start: date
    end: date
    campaign_space_ids: Sequence[UUID] | None = None
    platform: str | None = None


def groups(wanted: Wanted, by: GroupBy, limit: int, after: object = None) -> Statement:
    """Return the query for up to `limit` groups of `wanted` by their keys, those behind the key `after`: one row.

    `groups` is a JSON array of the groups, each with its key, the measures' sums and the ratios; `next_key` the
    key after which there are more, if there are; `total` the number of all groups.
    """
    text = _groups(by, _narrowing(wanted), after is not None, reads_rows(wanted, by))
    return text, {**vars(wanted), "limit": limit, "after": after}


def reads_rows(wanted: Wanted, by: GroupBy) -> bool:
    """Whether `groups` adds up the rows of campaigns, of which a tenant has many; else it reads sums."""
    return by == "campaign" or wanted.campaign_space_ids is not None


def state(wanted: Wanted) -> Statement:
    """Return the query for the `state` of the tenant's rows on these dates: another one after any change of them.

    One row. It is that of every campaign, and so changes too when others than those wanted do.
    """
    return _state(wanted.platform is not None), vars(wanted)


def one_campaign(wanted: Wanted) -> Statement:
    """Return the query for the numbers of a campaign space, the only one of `wanted`: one row.

    `points` is a JSON array of its dates, each with the measures' sums
    and the ratios; the sums and ratios over all dates and their number, `days_tracked`, stand beside it.
    """
    return _one_campaign(_narrowing(wanted)), vars(wanted)


def campaigns(ids: Sequence[UUID]) -> Statement:
    """Return the query for those of the campaign spaces that are the tenant's: `id` and `platform`."""
    return _CAMPAIGNS, {"ids": list(ids)}


def platform_of(tenant_id: UUID, platform: str) -> Statement:
    """Return the query for a platform: one row where the tenant has campaign spaces or numbers on it, or none."""
    return _PLATFORM, {"tenant_id": tenant_id, "platform": platform}


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


def _narrowing(wanted: Wanted) -> tuple[str, ...]:
    return tuple(name for name in _NARROWING if getattr(wanted, name) is not None)


# A handful of texts, each composed once, and the same text each time: Postgres keeps its plan.
@cache
def _groups(by: GroupBy, narrowing: tuple[str, ...], is_continued: bool, of_rows: bool) -> bytes:
    return (
        sql.SQL(_GROUPS)
        .format(
            table=sql.Identifier(CAMPAIGN_METRICS.target if of_rows else platform_days.name),
            column=sql.Identifier(_COLUMNS[by]),
            key=sql.Identifier(KEYS[by]),
            sums=_sums(),
            ratios=_ratios(),
            conditions=_conditions(narrowing),
            # What is taken away is a part, too: nothing may be left of a sum.
            is_there=sql.SQL("true" if of_rows else "sum(row_count) > 0"),
            after=sql.SQL("s.{key} > %(after)s" if is_continued else "true").format(key=sql.Identifier(KEYS[by])),
        )
        .as_bytes()
    )


@cache
def _state(on_platform: bool) -> bytes:
    conditions = _conditions(("platform",) if on_platform else ())
    return sql.SQL(_STATE).format(conditions=conditions).as_bytes()


@cache
def _one_campaign(narrowing: tuple[str, ...]) -> bytes:
    composed = sql.SQL(_CAMPAIGN).format(sums=_sums(), ratios=_ratios(), conditions=_conditions(narrowing))
    return composed.as_bytes()


def _conditions(narrowing: tuple[str, ...]) -> sql.SQL:
    return sql.SQL(_TENANT_AND_DATES + "".join(_NARROWING[name] for name in narrowing))
