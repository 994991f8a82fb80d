"""Sums of money by currency: amounts of different currencies are never added (rule 13)."""

from collections.abc import Mapping
from decimal import Context, Decimal

NO_CURRENCY = ""
"""Stands for amounts of which the source has no currency, which are a group of their own."""

ByCurrency = Mapping[str, Decimal]
"""A sum of money for each currency, such as `{"EUR": Decimal("10.5")}`."""

_EXACT = Context(prec=100)
"""Sums can have more than the 28 digits to which Decimal rounds by default."""


def add(one: ByCurrency, other: ByCurrency) -> dict[str, Decimal]:
    """Return the exact sums of both, in the order of the currencies."""
    currencies = sorted({*one, *other})
    return {name: _EXACT.add(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in currencies}


def as_texts(sums: ByCurrency) -> dict[str, str]:
    """Return `sums` for JSON; numbers of JSON would be read as floats."""
    return {currency: str(amount) for currency, amount in sums.items()}


def by_currency(texts: Mapping[str, str]) -> dict[str, Decimal]:
    """Return the sums in JSON that `as_texts` has made."""
    return {currency: Decimal(amount) for currency, amount in texts.items()}
