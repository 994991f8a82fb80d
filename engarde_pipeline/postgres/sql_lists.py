"""Lists in composed SQL: the same expression for each of several columns."""

from collections.abc import Iterable
from typing import LiteralString

from psycopg import sql


def sql_list(template: LiteralString, names: Iterable[str], separator: LiteralString = ", ") -> sql.Composed:
    """Return `template` once for each name, joined by `separator`.

    In the template, `{name}` is the name as an identifier and `{text}` is the name as a string literal.
    """
    return sql.SQL(separator).join(
        sql.SQL(template).format(name=sql.Identifier(name), text=sql.Literal(name)) for name in names
    )
