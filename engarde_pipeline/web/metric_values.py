"""Sums of measures, the ratios of these sums, and both as text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable, ratios_of_sums
from engarde_pipeline.web.rendering import money, whole

MEASURES = {measure.name: measure for table in (CAMPAIGN_METRICS, ASSET_METRICS) for measure in table.measures}
RATIOS = {each.name: each for each in ratios_of_sums(ASSET_METRICS)}

_EXACT = Context(prec=100)
"""Sums can have more than the 28 digits to which Decimal rounds by default."""

_ACRONYMS = ("ctr", "cpc", "cpm", "roas")


@dataclass(frozen=True)
class Sums:
    """The sums of the measures of a group, all in one currency (rule 13)."""

    measures: Mapping[str, Decimal]

    def __add__(self, other: "Sums") -> "Sums":
        names = dict.fromkeys((*self.measures, *other.measures))
        zero = Decimal(0)
        return Sums(
            {name: _EXACT.add(self.measures.get(name, zero), other.measures.get(name, zero)) for name in names}
        )

    def value(self, name: str) -> Decimal | None:
        """Return a measure, or a ratio of the sums, which is None if its denominator is 0."""
        if name in MEASURES:
            return self.measures.get(name, Decimal(0))
        ratio = RATIOS[name]
        denominator = self.value(ratio.denominator)
        numerator = self.value(ratio.numerator)
        return ratio.factor * numerator / denominator if numerator is not None and denominator else None


def sums_of(values: Sequence[Decimal], table: MetricTable = CAMPAIGN_METRICS) -> Sums:
    """Return the sums whose values are in the order of the table's measures."""
    return Sums(dict(zip(table.measure_names, values, strict=True)))


def total(parts: Iterable[Sums]) -> Sums:
    """Return the sums over all parts, which have the same currency."""
    return sum(parts, Sums({}))


def names_of(table: MetricTable = CAMPAIGN_METRICS) -> list[str]:
    """Return the names of the measures and ratios of a table."""
    return [*table.measure_names, *(each.name for each in ratios_of_sums(table))]


def label(name: str) -> str:
    """Return the name of a measure or ratio as people write it."""
    return name.upper() if name in _ACRONYMS else name.replace("_", " ").capitalize()


def is_money(name: str) -> bool:
    """Whether a value is an amount in a currency."""
    if name in MEASURES:
        return MEASURES[name].is_money
    return name in RATIOS and RATIOS[name].unit == "currency"


def shown(name: str, value: Decimal | None) -> str:
    """Return the value of a measure or ratio as text, without its currency."""
    if value is None:
        return "–"
    if is_money(name):
        return money(value)
    if name in MEASURES:
        return whole(value)
    return f"{value:,.2f}" + ("%" if RATIOS[name].unit == "percent" else "")


def in_currency(name: str, currency: str | None) -> str:
    """Return the label of a measure or ratio with the currency that its values have."""
    return f"{label(name)} in {currency}" if currency and is_money(name) else label(name)


def isolated(text: str) -> str:
    """Return text from outside for use within a sentence, whose direction it must not change.

    Where there is markup, `<bdi>` does this.
    """
    return text if text.isascii() else f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
