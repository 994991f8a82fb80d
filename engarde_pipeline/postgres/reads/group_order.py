"""The order of groups of metrics, in pages."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from psycopg import sql

After = Literal["key", "value", "null"] | None
"""What says where the previous page ended: the key, a value and the key, NULL and the key; None: no page."""

_CURRENCY = sql.SQL("coalesce(s.currency, '')")
_AFTER = sql.SQL("(%(after_key)s, %(after_currency)s)")


@dataclass(frozen=True)
class Page:
    """The order of the groups, and which of them to return.

    They are ordered by `order_by`, NULL last, and then by key and currency; without `order_by`, by key and
    currency. It is a measure, a ratio, `currency` or, for groups by campaign, `name` or `platform`.
    Of the groups after the one with `after_key` and `after_currency` ("" is none), and `after_value`, its value of
    `order_by`, up to `limit` are returned.
    """

    limit: int
    order_by: str | None = None
    descending: bool = False
    after_key: object = None
    after_currency: str = ""
    after_value: Decimal | None = None

    @property
    def after(self) -> After:
        """What says where the previous page ended."""
        if self.after_key is None:
            return None
        return "key" if self.order_by is None else "null" if self.after_value is None else "value"


@dataclass(frozen=True)
class GroupOrder:
    """The order of the groups s, and which of them are after the previous page."""

    by: str | None
    descending: bool
    after: After

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
