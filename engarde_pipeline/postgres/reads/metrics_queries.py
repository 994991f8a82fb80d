"""The API's queries of the metric tables: sums by group, and ratios of those sums (rule 11).

Row-level security already limits the API's role to one tenant (migrations 0003, 0005). Each query filters by
tenant as well: the indexes are on the tenant, and isolation should not depend on one mechanism alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable, ratios_of_sums
from engarde_pipeline.postgres.schema.tables import platform_days, ratio_sql
from engarde_pipeline.postgres.sql_lists import sql_list

GroupBy = Literal["date", "asset", "campaign", "platform"]
KEYS: dict[GroupBy, LiteralString] = {
    "date": "date",
    "asset": "campaign_asset_id",
    "campaign": "campaign_space_id",
    "platform": "platform",
}
"""The field of a response that has a group's key."""

_COLUMNS: dict[GroupBy, LiteralString] = {**KEYS, "date": "metric_date"}

# The views in engarde_api have only the rows of the tenant that the transaction has set.
_NAMES: dict[GroupBy, LiteralString] = {
    "asset": "LEFT JOIN engarde_api.campaign_assets n ON n.id = p.campaign_asset_id",
    "campaign": "LEFT JOIN engarde_api.campaign_spaces n ON n.id = p.campaign_space_id",
}

_ROWS: dict[str, LiteralString] = {
    CAMPAIGN_METRICS.target: "campaign_metrics m",
    ASSET_METRICS.target: "campaign_asset_metrics m",
}
_ROWS_WITH_CAMPAIGN: LiteralString = (
    "campaign_asset_metrics m JOIN engarde_api.campaign_assets a ON a.id = m.campaign_asset_id"
)

# Postgres builds the JSON of the groups, which saves building hundreds of objects in Python. Names are looked
# up for the groups of the page only.
_GROUPS = """
WITH sums AS (
    SELECT {column} AS {key}, m.currency, {sums}
    FROM {rows}
    WHERE {conditions}
    GROUP BY 1, 2
    HAVING {having}
), remaining AS (
    SELECT * FROM (SELECT s.*, {ratios} FROM sums s) s WHERE {after}
), page AS (
    SELECT * FROM remaining s ORDER BY {order} LIMIT %(limit)s
), named AS (
    SELECT p.{key}, p.currency, {name} {numbers} FROM page p {names}
)
SELECT coalesce(json_agg(s ORDER BY {order}), '[]')::text AS groups,
       CASE WHEN count(*) < (SELECT count(*) FROM remaining)
            THEN (SELECT {cursor} FROM page s ORDER BY {reverse_order} LIMIT 1) END AS next_key,
       (SELECT count(*) FROM sums) AS total
FROM named s
"""

_FINGERPRINT = """
SELECT concat_ws(' ', ({rows}), ({names})) AS fingerprint
"""

# A transaction that changes a row of campaign_metrics also writes to platform_days, and xmin is its id.
_VERSIONS_OF_CAMPAIGNS = """
SELECT md5(string_agg(written, ',' ORDER BY written))
FROM (SELECT concat_ws(' ', metric_date, platform, xmin) AS written FROM platform_days m WHERE {conditions}) s
"""

# Asset metrics have no such sums: the versions of the rows are combined, which is faster than adding up.
_VERSIONS_OF_ASSETS = """
SELECT concat_ws(' ', count(*), bit_xor(uuid_hash_extended(m.id, m.xmin::text::bigint)))
FROM campaign_asset_metrics m
WHERE {conditions}
"""

_VERSIONS_OF_NAMES = """
SELECT bit_xor(hashtextextended(row_version, uuid_hash_extended(id, 0))) FROM engarde_api.{view}
"""

_DATES = """
WITH sums AS (
    SELECT metric_date AS date, m.currency, {sums}
    FROM {rows}
    WHERE {conditions}
    GROUP BY 1, 2
), points AS (
    SELECT s.*, {ratios} FROM sums s
), summary AS (
    SELECT count(DISTINCT date) AS days_tracked,
           CASE WHEN {is_one_currency} THEN min(currency) END AS currency,
           {totals}
    FROM sums
)
SELECT (SELECT coalesce(json_agg(points ORDER BY date, currency NULLS FIRST), '[]')::text FROM points) AS points,
       s.*, {ratios}
FROM summary s
"""

# NULL beside a currency makes two.
_IS_ONE_CURRENCY: LiteralString = "count(DISTINCT coalesce(currency, '')) < 2"

_TENANT_AND_DATES = "m.tenant_id = %(tenant_id)s AND m.metric_date BETWEEN %(start)s AND %(end)s"
_FILTERS = {
    "campaign_space_ids": " AND campaign_space_id = ANY(%(campaign_space_ids)s)",
    "campaign_asset_ids": " AND m.campaign_asset_id = ANY(%(campaign_asset_ids)s)",
    "platform": " AND m.platform = %(platform)s",
}

Statement = tuple[sql.SQL | bytes, dict[str, Any]]


@dataclass(frozen=True)
class MetricsQuery:
    """The table, tenant, dates (both ends included) and filters of a query.

    A filter that is None is not applied.
    """

    tenant_id: UUID
    start: date
    end: date
    campaign_space_ids: Sequence[UUID] | None = None
    platform: str | None = None
    campaign_asset_ids: Sequence[UUID] | None = None
    table: MetricTable = CAMPAIGN_METRICS

    @property
    def filters(self) -> tuple[str, ...]:
        """The names of the filters that are applied."""
        return tuple(name for name in _FILTERS if getattr(self, name) is not None)

    @property
    def values(self) -> dict[str, Any]:
        """The values of a statement."""
        return {name: value for name, value in vars(self).items() if name != "table"}


@dataclass(frozen=True)
class Page:
    """The order of the groups, and which of them to return.

    They are ordered by the measure or ratio `order_by`, NULL last, and then by key and currency; without
    `order_by`, by key and currency.
    Of the groups after the one with `after_key` and `after_currency` ("" is none), and `after_value`, its value of
    `order_by`, up to `limit` are returned.
    """

    limit: int
    order_by: str | None = None
    descending: bool = False
    after_key: object = None
    after_currency: str = ""
    after_value: Decimal | None = None


def groups(query: MetricsQuery, by: GroupBy, page: Page) -> Statement:
    """Return the statement for a page of groups: one per key and currency (rule 13).

    Its only row has `groups`, a JSON array of the groups, each with its key, its currency, its name if it is a
    campaign or an asset, the sums of the measures and the ratios; `next_key`, what the next page is after if there
    are more groups: "currency|key", or "value|currency|key" with `order_by`; and `total`, the number of groups.
    """
    after: _After = None
    if page.after_key is not None:
        after = "key" if page.order_by is None else "null" if page.after_value is None else "value"
    text = _groups(
        query.table, by, query.filters, _Order(page.order_by, page.descending, after), reads_rows(query, by)
    )
    after_names = ("limit", "after_key", "after_currency", "after_value")
    return text, {**query.values, **{name: getattr(page, name) for name in after_names}}


def reads_rows(query: MetricsQuery, by: GroupBy) -> bool:
    """Whether `groups` sums rows of the table, which are many; otherwise it reads `platform_days`."""
    return query.table is ASSET_METRICS or by == "campaign" or query.campaign_space_ids is not None


def fingerprint(query: MetricsQuery, by: GroupBy) -> Statement:
    """Return the statement for the `fingerprint` of what `groups` reads, which any change of it alters.

    It does not depend on the filter by campaign, so changes of other campaigns alter it too.
    """
    return _fingerprint(query.table, by, query.filters), query.values


def by_date(query: MetricsQuery) -> Statement:
    """Return the statement for the metrics of the one campaign space or asset that `query` filters by.

    Its only row has `points`, a JSON array with a point per date and currency, each with the sums of the measures
    and the ratios; the sums and ratios over all dates, and their `currency`; and `days_tracked`, the number of
    dates. If there are several currencies, `currency` and the sums of money are NULL.
    """
    return _by_date(query.table, query.filters), query.values


_After = Literal["key", "value", "null"] | None

_CURRENCY = sql.SQL("coalesce(s.currency, '')")
_AFTER = sql.SQL("(%(after_key)s, %(after_currency)s)")


@dataclass(frozen=True)
class _Order:
    by: str | None
    descending: bool
    after: _After

    def clause(self, key: str, reverse: bool = False) -> sql.Composed:
        """Return the ORDER BY of the groups s."""
        first = sql.Identifier(key if self.by is None else self.by)
        direction = sql.SQL("DESC NULLS {}" if self.descending != reverse else "ASC NULLS {}").format(
            sql.SQL("FIRST" if reverse else "LAST")
        )
        names = {"first": first, "direction": direction, "key": sql.Identifier(key), "currency": _CURRENCY}
        if self.by is None:
            return sql.SQL("s.{first} {direction}, {currency} {direction}").format(**names)
        then = sql.SQL("DESC" if reverse else "ASC")
        return sql.SQL("s.{first} {direction}, s.{key} {then}, {currency} {then}").format(then=then, **names)

    def cursor(self, key: str) -> sql.Composed:
        """Return the expression for what the page after the group s is after."""
        if self.by is None:
            return sql.SQL("concat(s.currency, '|', s.{})").format(sql.Identifier(key))
        return sql.SQL("concat(s.{}, '|', s.currency, '|', s.{})").format(
            sql.Identifier(self.by), sql.Identifier(key)
        )

    def condition(self, key: str) -> sql.Composable:
        """Return the condition that the group s is after the previous page."""
        group = sql.SQL("(s.{}, {})").format(sql.Identifier(key), _CURRENCY)
        names = {"group": group, "by": sql.Identifier(self.by or key), "after": _AFTER}
        comparison = sql.SQL("<" if self.descending else ">")
        match self.after:
            case "key":
                return sql.SQL("{group} {comparison} {after}").format(comparison=comparison, **names)
            case "value":
                return sql.SQL(
                    "(s.{by} {comparison} %(after_value)s OR s.{by} IS NULL"
                    " OR s.{by} = %(after_value)s AND {group} > {after})"
                ).format(comparison=comparison, **names)
            case "null":
                return sql.SQL("s.{by} IS NULL AND {group} > {after}").format(**names)
        return sql.SQL("true")


def _sums(table: MetricTable) -> sql.Composed:
    return sql_list("coalesce(sum({name}), 0) AS {name}", table.measure_names)


def _totals(table: MetricTable) -> sql.Composed:
    """Return the sums over groups of all currencies: those of money are NULL if there are several."""
    money = sql.SQL("CASE WHEN {is_one_currency} THEN coalesce(sum({name}), 0) END AS {name}")
    other = sql.SQL("coalesce(sum({name}), 0) AS {name}")
    return sql.SQL(", ").join(
        (money if measure.is_money else other).format(
            name=sql.Identifier(measure.name), is_one_currency=sql.SQL(_IS_ONE_CURRENCY)
        )
        for measure in table.measures
    )


def _ratios(table: MetricTable) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL(ratio_sql(ratio)) + sql.SQL(" AS ") + sql.Identifier(ratio.name) for ratio in ratios_of_sums(table)
    )


# Cached: each of the few statements is composed once, and its text stays the same, so that it is prepared once.
@cache
def _groups(table: MetricTable, by: GroupBy, filters: tuple[str, ...], order: _Order, from_rows: bool) -> bytes:
    key = KEYS[by]
    numbers = [*table.measure_names, *(ratio.name for ratio in ratios_of_sums(table))]
    return (
        sql.SQL(_GROUPS)
        .format(
            rows=_rows(table, by, filters)
            if from_rows
            else sql.SQL("{} m").format(sql.Identifier(platform_days.name)),
            column=sql.Identifier(_COLUMNS[by]),
            key=sql.Identifier(key),
            sums=_sums(table),
            ratios=_ratios(table),
            conditions=_conditions(filters),
            # Deletions are added to platform_days with negative counts, so the sum of a group can be empty.
            having=sql.SQL("true" if from_rows else "sum(row_count) > 0"),
            after=order.condition(key),
            order=order.clause(key),
            reverse_order=order.clause(key, reverse=True),
            cursor=order.cursor(key),
            name=sql.SQL("n.name," if by in _NAMES else ""),
            names=sql.SQL(_NAMES.get(by, "")),
            numbers=sql_list("p.{name}", numbers),
        )
        .as_bytes()
    )


@cache
def _fingerprint(table: MetricTable, by: GroupBy, filters: tuple[str, ...]) -> bytes:
    versions = _VERSIONS_OF_ASSETS if table is ASSET_METRICS else _VERSIONS_OF_CAMPAIGNS
    conditions = _conditions(tuple(name for name in filters if name != "campaign_space_ids"))
    # An asset's version includes its campaign's.
    reads_assets = by == "asset" or _joins_assets(table, by, filters)
    view = "campaign_assets" if reads_assets else "campaign_spaces" if by == "campaign" else None
    names = sql.SQL(_VERSIONS_OF_NAMES).format(view=sql.Identifier(view)) if view else sql.SQL("NULL")
    rows = sql.SQL(versions).format(conditions=conditions)
    return sql.SQL(_FINGERPRINT).format(rows=rows, names=names).as_bytes()


@cache
def _by_date(table: MetricTable, filters: tuple[str, ...]) -> bytes:
    composed = sql.SQL(_DATES).format(
        rows=_rows(table, "date", filters),
        sums=_sums(table),
        totals=_totals(table),
        is_one_currency=sql.SQL(_IS_ONE_CURRENCY),
        ratios=_ratios(table),
        conditions=_conditions(filters),
    )
    return composed.as_bytes()


def _rows(table: MetricTable, by: GroupBy, filters: tuple[str, ...]) -> sql.SQL:
    """Return the FROM list."""
    return sql.SQL(_ROWS_WITH_CAMPAIGN if _joins_assets(table, by, filters) else _ROWS[table.target])


def _joins_assets(table: MetricTable, by: GroupBy, filters: tuple[str, ...]) -> bool:
    # Asset metrics have no campaign of their own.
    return table is ASSET_METRICS and (by == "campaign" or "campaign_space_ids" in filters)


def _conditions(filters: tuple[str, ...]) -> sql.SQL:
    return sql.SQL(_TENANT_AND_DATES + "".join(_FILTERS[name] for name in filters))
