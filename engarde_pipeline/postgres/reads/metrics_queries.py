"""The API's queries of the metric tables: sums by group, and ratios of those sums (rule 11).

Row-level security already limits the API's role to one tenant (migrations 0003, 0005). Each query filters by
tenant as well: the indexes are on the tenant, and isolation should not depend on one mechanism alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable, ratios_of_sums
from engarde_pipeline.postgres.reads import block_sums
from engarde_pipeline.postgres.reads.group_order import GroupOrder, Page
from engarde_pipeline.postgres.schema.tables import ratio_sql
from engarde_pipeline.postgres.sql_lists import sql_list
from engarde_pipeline.postgres.totals.metric_blocks import PLATFORM_DAYS, VERSION

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
_NAMED: dict[GroupBy, LiteralString] = {
    "asset": "engarde_api.campaign_assets n {} n.id = {}.campaign_asset_id",
    "campaign": "engarde_api.campaign_spaces n {} n.id = {}.campaign_space_id",
}
NAMED_COLUMNS = ("name", "platform")
"""By which groups by campaign can be ordered, besides their currency, measures and ratios."""

_FEW_GROUPS = 500
"""Up to which an index finds the names of the groups faster than a scan of all of them."""

_JOIN_ASSETS: LiteralString = "JOIN engarde_api.campaign_assets a ON a.id = m.campaign_asset_id"

# Postgres builds the JSON of the groups, which saves building thousands of objects in Python; from text, because
# json_agg takes twice as long. Names and ratios are computed for the groups of the page only, except the ratio
# that the groups are ordered by.
_GROUPS = """
WITH {blocks} sums AS (
    SELECT {column} AS {key}, m.currency, {sums}
    FROM {rows}
    WHERE {conditions}
    GROUP BY 1, 2
    HAVING {having}
), rest AS (
    SELECT * FROM (SELECT s.* {ordering_column} FROM sums s {ordering_join}) s WHERE {after}
), page AS (
    SELECT s.* {other_ratios} FROM (SELECT * FROM rest s ORDER BY {order} LIMIT %(limit)s) s
), named AS (
    SELECT p.* {name} FROM page p {names}
)
SELECT concat('[', string_agg({json}, ',' ORDER BY {order}), ']') AS groups,
       CASE WHEN count(*) < (SELECT count(*) FROM rest)
            THEN (SELECT {cursor} FROM page s ORDER BY {reverse_order} LIMIT 1) END AS next_key,
       (SELECT count(*) FROM sums) AS total
FROM named s
"""

_FINGERPRINT = """
SELECT {version}::text AS fingerprint FROM {platform_days} m WHERE {conditions}
"""

_NAMES_VERSION = """
SELECT bit_xor(hashtextextended(row_version, uuid_hash_extended(id, 0))) AS version FROM engarde_api.{view}
"""

_DATES = """
WITH sums AS (
    SELECT metric_date AS date, m.currency, {sums}
    FROM {rows}
    WHERE {conditions}
    GROUP BY 1, 2
), points AS (
    SELECT s.* {ratios} FROM sums s
), summary AS (
    SELECT count(DISTINCT date) AS days_tracked,
           CASE WHEN {is_one_currency} THEN min(currency) END AS currency,
           {totals}
    FROM sums
)
SELECT (SELECT coalesce(json_agg(points ORDER BY date, currency NULLS FIRST), '[]')::text FROM points) AS points,
       s.* {ratios}
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
# Asset metrics have no campaign. The ids are read first, so that an index finds the rows of these few assets: as a
# join, without statistics of the tables, it reads all assets for every row of the tenant.
_ASSETS_OF_CAMPAIGNS: LiteralString = (
    " AND m.campaign_asset_id = ANY(ARRAY(SELECT id FROM engarde_api.campaign_assets"
    " WHERE campaign_space_id = ANY(%(campaign_space_ids)s)))"
)

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
        values = {name: value for name, value in vars(self).items() if name != "table"}
        return {**values, "table_name": self.table.target}


def groups(query: MetricsQuery, by: GroupBy, page: Page) -> Statement:
    """Return the statement for a page of groups: one per key and currency (rule 13).

    Its only row has `groups`, a JSON array of the groups, each with its key, its currency, its name if it is a
    campaign or an asset, the sums of the measures and the ratios; `next_key`, what the next page is after if there
    are more groups: "currency|key", or "value|currency|key" with `order_by`; and `total`, the number of groups.
    """
    order = GroupOrder(page.order_by, page.descending, page.after)
    text = _groups(query.table, by, query.filters, order, page.limit <= _FEW_GROUPS)
    after_names = ("limit", "after_key", "after_currency", "after_value")
    return text, {**query.values, **{name: getattr(page, name) for name in after_names}}


def reads_rows(query: MetricsQuery, by: GroupBy) -> bool:
    """Whether `groups` sums rows or blocks of the table, which are many; otherwise the sums per platform."""
    return _reads_rows(by, query.filters)


def fingerprint(query: MetricsQuery) -> Statement:
    """Return the statement for the `fingerprint` of the rows that `groups` reads, which any change of them alters.

    It does not depend on the filters by campaign and asset, so changes of others alter it too.
    """
    return _fingerprint(query.table, query.filters), query.values


def names_version(query: MetricsQuery, by: GroupBy) -> Statement | None:
    """Return the statement for the `version` of the campaigns or assets that `groups` reads, or None without any.

    Any change of the tenant's campaigns or assets alters it. It is the same for all dates and filters.
    """
    # An asset's version includes its campaign's.
    if query.table is ASSET_METRICS and (by in ("asset", "campaign") or "campaign_space_ids" in query.filters):
        return _names_version("campaign_assets"), {}
    return (_names_version("campaign_spaces"), {}) if by == "campaign" else None


def by_date(query: MetricsQuery) -> Statement:
    """Return the statement for the metrics of the one campaign space or asset that `query` filters by.

    Its only row has `points`, a JSON array with a point per date and currency, each with the sums of the measures
    and the ratios; the sums and ratios over all dates, and their `currency`; and `days_tracked`, the number of
    dates. If there are several currencies, `currency` and the sums of money are NULL.
    """
    return _by_date(query.table, query.filters), query.values


def _reads_rows(by: GroupBy, filters: tuple[str, ...]) -> bool:
    return by in ("campaign", "asset") or not set(filters) <= {"platform"}


def _sums(table: MetricTable) -> sql.Composed:
    return sql_list("sum({name}) AS {name}", table.measure_names)


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


def _ratios(table: MetricTable, is_wanted: Callable[[str], bool] = lambda _: True) -> sql.Composed:
    """Return the ratios with these names, each after a comma."""
    return sql.SQL("").join(
        sql.SQL(", ") + sql.SQL(ratio_sql(ratio)) + sql.SQL(" AS ") + sql.Identifier(ratio.name)
        for ratio in ratios_of_sums(table)
        if is_wanted(ratio.name)
    )


# Cached: each of the few statements is composed once, and its text stays the same, so that it is prepared once.
@cache
def _groups(table: MetricTable, by: GroupBy, filters: tuple[str, ...], order: GroupOrder, are_few: bool) -> bytes:
    from_rows = _reads_rows(by, filters)
    key = KEYS[by]
    # With a filter by campaign or asset, an index finds their rows.
    from_blocks = from_rows and set(filters) <= {"platform"}
    rows, conditions = _rows(table, by), _conditions(table, filters)
    blocks: sql.Composable = sql.SQL("")
    if from_blocks:
        rows = _rows(table, by, block_sums.ROWS)
        conditions = sql.SQL("true" + "".join(_FILTERS[name] for name in filters))
        blocks = sql.SQL("{}, ").format(block_sums.rows(table))
    elif not from_rows:
        rows = sql.SQL("{} m").format(sql.Identifier(PLATFORM_DAYS[table.target]))
    ordering_column: sql.Composable = _ratios(table, lambda name: name == order.by)
    ordering_join: sql.Composable = sql.SQL("")
    name, names = _name(by, are_few)
    if by == "campaign" and order.by in NAMED_COLUMNS:
        ordering_column = sql.SQL(", n.{}").format(sql.Identifier(order.by))
        ordering_join = sql.SQL("LEFT JOIN {}").format(_named(by, "s", "ON"))
        if order.by == "name":
            name, names = sql.SQL(""), sql.SQL("")
    return (
        sql.SQL(_GROUPS)
        .format(
            blocks=blocks,
            rows=rows,
            column=sql.Identifier(_COLUMNS[by]),
            key=sql.Identifier(key),
            sums=_sums(table),
            ordering_column=ordering_column,
            ordering_join=ordering_join,
            other_ratios=_ratios(table, lambda name: name != order.by),
            conditions=conditions,
            # Deletions are added to the sums per platform with negative counts, so a group can be empty.
            having=sql.SQL("true" if from_rows else "sum(row_count) > 0"),
            after=order.condition(key),
            order=order.clause(key),
            reverse_order=order.clause(key, reverse=True),
            cursor=order.cursor(key),
            name=name,
            names=names,
            json=_json(table, by),
        )
        .as_bytes()
    )


def _name(by: GroupBy, are_few: bool) -> tuple[sql.Composable, sql.Composable]:
    """Return the column for the name of the group p after a comma, and the join that it needs."""
    if by not in _NAMED:
        return sql.SQL(""), sql.SQL("")
    if are_few:
        return sql.SQL(", (SELECT n.name FROM {}) AS name").format(_named(by, "p", "WHERE")), sql.SQL("")
    return sql.SQL(", n.name"), sql.SQL("LEFT JOIN {}").format(_named(by, "p", "ON"))


def _named(by: GroupBy, groups: LiteralString, condition: LiteralString) -> sql.Composed:
    """Return the view with the names n, joined to `groups`."""
    return sql.SQL(_NAMED[by]).format(sql.SQL(condition), sql.SQL(groups))


def _json(table: MetricTable, by: GroupBy) -> sql.Composed:
    """Return the expression for the group s as JSON."""
    texts = [KEYS[by], "currency", *(["name"] if by in _NAMED else [])]
    fields = [
        *((name, sql.SQL("coalesce(to_json(s.{})::text, 'null')").format(sql.Identifier(name))) for name in texts),
        *((name, sql.SQL("s.{}").format(sql.Identifier(name))) for name in table.measure_names),
        *(
            (ratio.name, sql.SQL("coalesce(s.{}::text, 'null')").format(sql.Identifier(ratio.name)))
            for ratio in ratios_of_sums(table)
        ),
    ]
    parts = [
        sql.SQL("{}, {}").format(sql.Literal(f'{"," if number else "{"}"{name}":'), value)
        for number, (name, value) in enumerate(fields)
    ]
    return sql.SQL("concat({}, '}}')").format(sql.SQL(", ").join(parts))


@cache
def _fingerprint(table: MetricTable, filters: tuple[str, ...]) -> bytes:
    conditions = _conditions(table, tuple(name for name in filters if name == "platform"))
    platform_days = sql.Identifier(PLATFORM_DAYS[table.target])
    return (
        sql.SQL(_FINGERPRINT)
        .format(version=sql.SQL(VERSION), platform_days=platform_days, conditions=conditions)
        .as_bytes()
    )


@cache
def _names_version(view: str) -> bytes:
    return sql.SQL(_NAMES_VERSION).format(view=sql.Identifier(view)).as_bytes()


@cache
def _by_date(table: MetricTable, filters: tuple[str, ...]) -> bytes:
    composed = sql.SQL(_DATES).format(
        rows=_rows(table, "date"),
        sums=_sums(table),
        totals=_totals(table),
        is_one_currency=sql.SQL(_IS_ONE_CURRENCY),
        ratios=_ratios(table),
        conditions=_conditions(table, filters),
    )
    return composed.as_bytes()


def _rows(table: MetricTable, by: GroupBy, rows: str | None = None) -> sql.Composed:
    """Return the FROM list, with `rows` in place of the table."""
    joins = sql.SQL(_JOIN_ASSETS if table is ASSET_METRICS and by == "campaign" else "")
    return sql.SQL("{} m {}").format(sql.Identifier(rows or table.target), joins)


def _conditions(table: MetricTable, filters: tuple[str, ...]) -> sql.SQL:
    texts = _FILTERS | ({"campaign_space_ids": _ASSETS_OF_CAMPAIGNS} if table is ASSET_METRICS else {})
    return sql.SQL(_TENANT_AND_DATES + "".join(texts[name] for name in filters))
