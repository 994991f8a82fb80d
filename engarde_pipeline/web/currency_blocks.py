"""The part of a page about one currency: amounts of different currencies are never added (rule 13)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from engarde_pipeline.web.charts import ByDate, Chart, ChartNumbers, chart
from engarde_pipeline.web.metric_values import Sums, shown, sums_of, total
from engarde_pipeline.web.periods import DateNotes
from engarde_pipeline.web.rendering import currency_name
from engarde_pipeline.web.tiles import Tile, tiles

Currency = str | None
Lines = Mapping[str, ByDate]

SPLIT_COLUMNS = ("revenue", "roas", "ctr", "conversions")


@dataclass(frozen=True)
class Split:
    """A platform's part of the spend. `share` is in percent, and None if nothing was spent."""

    platform: str
    spend: str
    share: Decimal | None
    values: list[str]

    @property
    def share_text(self) -> str:
        """The share as text."""
        return "–" if self.share is None else f"{self.share:.1f}%"

    @property
    def bar(self) -> str:
        """The length of a bar of at most 100."""
        return f"{self.share or 0:.1f}"


@dataclass(frozen=True)
class CurrencyBlock:
    """Tiles, chart and platforms in one currency."""

    currency: Currency
    title: str
    tiles: list[Tile]
    chart: Chart
    split: list[Split]

    @property
    def name(self) -> str:
        """The currency's name."""
        return currency_name(self.currency)

    @property
    def id(self) -> str:
        """Identifies the block on its page."""
        return f"currency-{self.currency or 'none'}"


@dataclass(frozen=True)
class BlockNumbers:
    """What the blocks of a page show: sums by currency, line and date, and those of the period before.

    They are comparable if all dates of both periods have been synced.
    """

    now: Mapping[Currency, Lines]
    before: Mapping[Currency, Sums]
    are_comparable: bool
    measure: str
    dates: list[date]
    notes: DateNotes


def parse_numbers(text: str | bytes) -> Any:
    """Return JSON from Postgres, with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def before_by_currency(text: str) -> dict[Currency, Sums]:
    """Return the sums in the column `before`."""
    return {currency: sums_of(values) for currency, *values in parse_numbers(text)}


def blocks(numbers: BlockNumbers) -> list[CurrencyBlock]:
    """Return a block for each currency, the one without a currency last."""
    currencies = sorted({*numbers.now, *numbers.before}, key=lambda each: (each is None, each or ""))
    return [_block(numbers, each, _title(each, currencies)) for each in currencies]


def _title(currency: Currency, currencies: list[Currency]) -> str:
    if currency:
        return f"In {currency}"
    return "Figures" if len(currencies) == 1 else "Without a currency"


def _block(numbers: BlockNumbers, currency: Currency, title: str) -> CurrencyBlock:
    lines = numbers.now.get(currency, {})
    sums = {name: total(by_date.values()) for name, by_date in lines.items()}
    overall = total(sums.values()) if sums else None
    return CurrencyBlock(
        currency,
        title,
        tiles(overall, numbers.before.get(currency), are_comparable=numbers.are_comparable),
        chart(ChartNumbers(numbers.measure, currency, lines, numbers.dates, numbers.notes)),
        split(sums),
    )


def split(sums: Mapping[str, Sums]) -> list[Split]:
    """Return the platforms with their share of the spend, the largest first."""
    spend = {platform: each.measures["spend"] for platform, each in sums.items()}
    whole = total(sums.values()).value("spend")
    return [
        Split(
            platform,
            shown("spend", spend[platform]),
            100 * spend[platform] / whole if whole else None,
            [shown(name, sums[platform].value(name)) for name in SPLIT_COLUMNS],
        )
        for platform in sorted(sums, key=lambda platform: (-spend[platform], platform))
    ]


def dates_with_numbers(now: Mapping[Currency, Lines]) -> Iterable[date]:
    """Return the dates that have numbers in any currency."""
    return {day for lines in now.values() for by_date in lines.values() for day in by_date}
