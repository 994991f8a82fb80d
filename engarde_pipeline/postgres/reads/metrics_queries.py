"""The API's queries of the metric tables: sums by group, and ratios of those sums (rule 11).

Row-level security already limits the API's role to one tenant (migrations 0003, 0005). Each query filters by
tenant as well: the indexes are on the tenant, and isolation should not depend on one mechanism alone.
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
"""The field of a response that has a group's key."""

_COLUMNS: dict[GroupBy, LiteralString] = {
    "date": "metric_date",
    "campaign": "campaign_space_id",
    "platform": "platform",
}

# Postgres builds the JSON of the groups, which saves building hundreds of objects in Python.
_GROUPS = """
WITH sums AS (
    SELECT {column} AS {key}, {sums}
    FROM {table}
    WHERE {conditions}
    GROUP BY 1
    HAVING {having}
), remaining AS (
    SELECT * FROM sums s WHERE {after}
), page AS (
    SELECT s.*, {ratios} FROM remaining s ORDER BY {key} LIMIT %(limit)s
)
SELECT coalesce(json_agg(page ORDER BY {key}), '[]')::text AS groups,
       CASE WHEN count(*) < (SELECT count(*) FROM remaining) THEN max({key}::text) END AS next_key,
       (SELECT count(*) FROM sums) AS total
FROM page
"""

# A transaction that changes a row of campaign_metrics also writes to platform_days, and xmin is its id.
_FINGERPRINT = """
WITH sums AS (
    SELECT concat_ws(' ', metric_date, platform, xmin) AS written
    FROM platform_days
    WHERE {conditions}
)
SELECT coalesce(md5(string_agg(written, ',' ORDER BY written)), '') AS fingerprint FROM sums
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

# The views in engarde_api have only the rows of the tenant that the transaction has set.
_CAMPAIGNS = sql.SQL("SELECT id, platform FROM engarde_api.campaign_spaces WHERE id = ANY(%(ids)s)")
# A platform can have metrics but no campaign space, after a campaign space has changed its platform.
_PLATFORM = sql.SQL("""
SELECT %(platform)s AS platform
WHERE EXISTS (SELECT FROM engarde_api.campaign_spaces WHERE platform = %(platform)s)
   OR EXISTS (SELECT FROM platform_days WHERE tenant_id = %(tenant_id)s AND platform = %(platform)s)
""")
_TENANT = sql.SQL("SELECT id FROM engarde_api.tenants")

_TENANT_AND_DATES = "tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s"
_FILTERS = {
    "campaign_space_ids": " AND campaign_space_id = ANY(%(campaign_space_ids)s)",
    "platform": " AND platform = %(platform)s",
}

Statement = tuple[sql.SQL | bytes, dict[str, Any]]


@dataclass(frozen=True)
class MetricsQuery:
    """The tenant, dates (both ends included) and filters of a query. A filter that is None is not applied."""

    tenant_id: UUID
    start: date
    end: date
    campaign_space_ids: Sequence[UUID] | None = None
    platform: str | None = None


def groups(query: MetricsQuery, by: GroupBy, limit: int, after: object = None) -> Statement:
    """Return the statement for up to `limit` groups, ordered by key, with keys greater than `after`.

    Its only row has `groups`, a JSON array of the groups, each with its key, the sums of the measures and the
    ratios; `next_key`, the last key of this page if there are more groups; and `total`, the number of all groups.
    """
    text = _groups(by, _filters(query), after is not None, reads_rows(query, by))
    return text, {**vars(query), "limit": limit, "after": after}


def reads_rows(query: MetricsQuery, by: GroupBy) -> bool:
    """Whether `groups` sums rows of `campaign_metrics`, which are many; otherwise it reads `platform_days`."""
    return by == "campaign" or query.campaign_space_ids is not None


def fingerprint(query: MetricsQuery) -> Statement:
    """Return the statement for the `fingerprint` of the tenant's rows on these dates, which any change alters.

    It does not depend on the filter by campaign, so changes of other campaigns alter it too.
    """
    return _fingerprint(query.platform is not None), vars(query)


def one_campaign(query: MetricsQuery) -> Statement:
    """Return the statement for the metrics of the campaign space that `query` filters by.

    Its only row has `points`, a JSON array of the dates, each with the sums of the measures and the ratios; the
    sums and ratios over all dates; and `days_tracked`, the number of dates.
    """
    return _one_campaign(_filters(query)), vars(query)


def campaigns(ids: Sequence[UUID]) -> Statement:
    """Return the statement for the `id` and `platform` of those campaign spaces that belong to the tenant."""
    return _CAMPAIGNS, {"ids": list(ids)}


def platform_of(tenant_id: UUID, platform: str) -> Statement:
    """Return the statement for a platform: one row if the tenant has campaign spaces or metrics on it."""
    return _PLATFORM, {"tenant_id": tenant_id, "platform": platform}


def the_tenant() -> Statement:
    """Return the statement for the tenant itself: one row, or none if it does not exist."""
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


def _filters(query: MetricsQuery) -> tuple[str, ...]:
    return tuple(name for name in _FILTERS if getattr(query, name) is not None)


# Cached: each of the few statements is composed once, and its text stays the same, so that it is prepared once.
@cache
def _groups(by: GroupBy, filters: tuple[str, ...], has_cursor: bool, from_rows: bool) -> bytes:
    return (
        sql.SQL(_GROUPS)
        .format(
            table=sql.Identifier(CAMPAIGN_METRICS.target if from_rows else platform_days.name),
            column=sql.Identifier(_COLUMNS[by]),
            key=sql.Identifier(KEYS[by]),
            sums=_sums(),
            ratios=_ratios(),
            conditions=_conditions(filters),
            # Deletions are added to platform_days with negative counts, so the sum of a group can be empty.
            having=sql.SQL("true" if from_rows else "sum(row_count) > 0"),
            after=sql.SQL("s.{key} > %(after)s" if has_cursor else "true").format(key=sql.Identifier(KEYS[by])),
        )
        .as_bytes()
    )


@cache
def _fingerprint(by_platform: bool) -> bytes:
    conditions = _conditions(("platform",) if by_platform else ())
    return sql.SQL(_FINGERPRINT).format(conditions=conditions).as_bytes()


@cache
def _one_campaign(filters: tuple[str, ...]) -> bytes:
    composed = sql.SQL(_CAMPAIGN).format(sums=_sums(), ratios=_ratios(), conditions=_conditions(filters))
    return composed.as_bytes()


def _conditions(filters: tuple[str, ...]) -> sql.SQL:
    return sql.SQL(_TENANT_AND_DATES + "".join(_FILTERS[name] for name in filters))
