"""Columns and types that several tables have."""

from typing import Any

from sqlalchemy import BigInteger, Column, Numeric, Text, text
from sqlalchemy.types import TypeEngine

from engarde_pipeline.core.metrics import AMOUNT_DECIMALS, AMOUNT_DIGITS, Kind, Measure


def column_type(kind: Kind) -> TypeEngine[Any]:
    """Return the type of a measure's column."""
    return BigInteger() if kind == "count" else Numeric(AMOUNT_DIGITS, AMOUNT_DECIMALS)


def range_of_currencies() -> list[Column[Any]]:
    """Return the columns with the range of the currencies of summed rows."""
    return [
        Column("min_currency", Text, nullable=False, server_default="", comment="'' is none."),
        Column(
            "max_currency",
            Text,
            nullable=False,
            server_default="",
            comment="If it is not min_currency, no sum of money is valid.",
        ),
    ]


def sum_of(measure: Measure) -> Column[object]:
    """Return the column for the sum of a measure."""
    return Column(measure.name, Numeric, nullable=False, server_default=text("0"))


def currency() -> Column[Any]:
    """Return the column for the currency of amounts of money."""
    return Column("currency", Text, comment="ISO 4217; NULL: the source has none.")
