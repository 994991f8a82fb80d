"""Sums of money by currency: amounts of different currencies are never added (rule 13)."""

from collections.abc import Callable, Mapping
from decimal import Context, Decimal

ByCurrency = Mapping[str, Decimal]
"""A sum of money for each currency; the key "" stands for no currency, which is a group of its own."""

MALFORMED = "?"
"""The group of all currencies that are not an ISO 4217 code; their records are rejected."""

_EXACT = Context(prec=100)
"""Sums can have more than the 28 digits to which Decimal rounds by default."""


def add(one: ByCurrency, other: ByCurrency) -> dict[str, Decimal]:
    """Return the exact sums of both, in the order of the currencies."""
    return _each(_EXACT.add, one, other)


def subtract(one: ByCurrency, other: ByCurrency) -> dict[str, Decimal]:
    """Return the exact differences of both, in the order of the currencies."""
    return _each(_EXACT.subtract, one, other)


def as_texts(sums: ByCurrency) -> dict[str, str]:
    """Return `sums` for JSON, whose numbers would be read as floats."""
    return {currency: str(amount) for currency, amount in sums.items()}


def by_currency(texts: Mapping[str, str]) -> dict[str, Decimal]:
    """Return the sums that were made to texts, in the order of the currencies."""
    return {currency: Decimal(amount) for currency, amount in sorted(texts.items())}


def published(name: str, sums: ByCurrency) -> dict[str, float]:
    """Return `sums` as numbers with public names: `spend`, or `spend_EUR` for the sum in a currency."""
    return {
        f"{name}_{currency}".rstrip("_"): float(amount) for currency, amount in (sums or {"": Decimal(0)}).items()
    }


def from_published(name: str, values: Mapping[str, object]) -> dict[str, float]:
    """Return the sums by currency among `values` that `published` has named `name`."""
    found = {name: "", **{f"{name}_{key[-3:]}": key[-3:] for key in values if key[-3:].isupper()}}
    return {currency: float(str(values[key])) for key, currency in found.items() if key in values}


def _each(
    operation: Callable[[Decimal, Decimal], Decimal], one: ByCurrency, other: ByCurrency
) -> dict[str, Decimal]:
    zero = Decimal(0)
    return {name: operation(one.get(name, zero), other.get(name, zero)) for name in sorted({*one, *other})}
