"""What the overview shows, from the row that the database returns for it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from engarde_pipeline.core.dates import latest_date
from engarde_pipeline.web import sparklines
from engarde_pipeline.web.charts import ByDate
from engarde_pipeline.web.currency_blocks import (
    SPLIT_COLUMNS,
    BlockNumbers,
    Currency,
    CurrencyBlock,
    before_by_currency,
    blocks,
    dates_with_numbers,
    parse_numbers,
)
from engarde_pipeline.web.metric_values import Sums, is_money, label, shown, sums_of
from engarde_pipeline.web.page_parameters import MAX_CAMPAIGNS, TEXT_COLUMNS, OverviewParameters
from engarde_pipeline.web.periods import DateNotes, Period, comparison
from engarde_pipeline.web.range_view import Choice
from engarde_pipeline.web.rendering import currency_name
from engarde_pipeline.web.trust_notes import Note, notes, read_trust

NUMBER_COLUMNS = ("spend", "revenue", "roas", "ctr", "conversions")
"""The columns of the top campaigns after their name, platform and currency."""

LIMITS = (20, 50, MAX_CAMPAIGNS)
"""The numbers of top campaigns that there are links for."""

Empty = Literal["campaigns", "syncs", "numbers"]


@dataclass(frozen=True)
class ColumnHeader:
    """The head of a column, and the link that orders by it."""

    name: str
    label: str
    link: str
    aria_sort: Literal["ascending", "descending"] | None

    @property
    def arrow(self) -> str:
        """The order as a sign."""
        return {"ascending": "▲", "descending": "▼"}.get(self.aria_sort or "", "")

    @property
    def is_number(self) -> bool:
        """Whether the column has numbers."""
        return self.name not in TEXT_COLUMNS


@dataclass(frozen=True)
class CampaignRow:
    """One of the top campaigns, in one currency."""

    id: str
    name: str
    platform: str
    currency: str
    values: list[str]
    sparkline: str


@dataclass(frozen=True)
class Overview:
    """The overview. `empty` is what is lacking if there are no numbers."""

    blocks: list[CurrencyBlock]
    headers: list[ColumnHeader]
    split_headers: list[str]
    campaigns: list[CampaignRow]
    campaigns_sentence: str
    campaign_query: str
    more: list[Choice]
    notes: list[Note]
    comparison: str
    platforms: list[str]
    empty: Empty | None


def overview(
    row: Mapping[str, Any], parameters: OverviewParameters, period: Period, default_days: int
) -> Overview:
    """Return the overview; the columns of `row` are those of `groups`, `page_queries` and `with_trust`."""
    trust = read_trust(row["trust"])
    date_notes = trust.date_notes(period.calendar, row["partial_dates"])
    now = _by_currency(row["days"])
    shown_dates = list(period.shown_dates(latest_date(), dates_with_numbers(now)))
    # Of dates that were never synced it is not known whether there is less than before.
    before = before_by_currency(row["before"]) if now or trust.synced_at else {}
    compared = comparison(period, trust.missing_dates, row["dates_before"], has_numbers=bool(before))
    numbers = BlockNumbers(now, before, compared.is_possible, parameters.measure, shown_dates, date_notes)
    return Overview(
        blocks=blocks(numbers),
        headers=[_header(name, parameters) for name in ("name", "platform", "currency", *NUMBER_COLUMNS)],
        campaigns=_campaigns(row, shown_dates[-sparklines.DATES :], date_notes),
        split_headers=[label(name) for name in SPLIT_COLUMNS],
        campaigns_sentence=_sentence(row, parameters, has_currencies=len({*now, *before}) > 1),
        campaign_query=parameters.range_query(default_days),
        more=_more(row["total"], parameters),
        notes=notes(trust, period, row["held_dates"]),
        comparison=compared.sentence,
        platforms=sorted({*row["platforms"], *([parameters.platform] if parameters.platform else [])}),
        empty=None if now else _lacking(row),
    )


def spend_start(period: Period) -> date:
    """Return the first date of the sparklines."""
    last = min(period.end, latest_date())
    return max(period.start, date.fromordinal(max(1, last.toordinal() - sparklines.DATES + 1)))


def _by_currency(text: str) -> dict[Currency, dict[str, ByDate]]:
    found: dict[Currency, dict[str, dict[date, Sums]]] = defaultdict(lambda: defaultdict(dict))
    for day, platform, currency, *values in parse_numbers(text):
        found[currency][platform][date.fromisoformat(day)] = sums_of(values)
    # The same platform has the same colour on every day: in the order of the alphabet.
    return {currency: dict(sorted(lines.items())) for currency, lines in found.items()}


def _lacking(row: Mapping[str, Any]) -> Empty:
    if not row["has_campaigns"]:
        return "campaigns"
    return "numbers" if row["has_synced_dates"] else "syncs"


def _header(name: str, parameters: OverviewParameters) -> ColumnHeader:
    is_current = parameters.order_by == name
    aria_sort: Literal["ascending", "descending"] = "descending" if parameters.is_descending else "ascending"
    text = "Campaign" if name == "name" else label(name)
    return ColumnHeader(name, text, parameters.ordered_by(name).query, aria_sort if is_current else None)


def _sentence(row: Mapping[str, Any], parameters: OverviewParameters, has_currencies: bool) -> str:
    total = row["total"]
    by = "name" if parameters.order_by == "name" else label(parameters.order_by)
    directions = ("A to Z", "Z to A") if parameters.order_by in TEXT_COLUMNS else ("lowest first", "highest first")
    order = f"by {by}, {directions[parameters.is_descending]}"
    shown_part = f"{parameters.limit} of {total:,}" if total > parameters.limit else f"All {total:,}"
    text = f"{shown_part}, {order}."
    if has_currencies and is_money(parameters.order_by):
        return f"{text} Amounts of different currencies are ordered as numbers; they are not converted."
    return text


def _more(total: int, parameters: OverviewParameters) -> list[Choice]:
    if total <= LIMITS[0]:
        return []
    return [
        Choice(f"Top {limit}", "/" + parameters.but(limit=limit).query, limit == parameters.limit)
        for limit in LIMITS
    ]


def _campaigns(row: Mapping[str, Any], days: Sequence[date], date_notes: DateNotes) -> list[CampaignRow]:
    about = {each["id"]: each for each in parse_numbers(row["campaigns"])}
    return [_campaign(group, about.get(group["campaign_space_id"]), days, date_notes) for group in _groups(row)]


def _groups(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parse_numbers(row["groups"].text)
    return found


def _campaign(
    group: Mapping[str, Any], about: Mapping[str, Any] | None, days: Sequence[date], date_notes: DateNotes
) -> CampaignRow:
    # A campaign space that was deleted since has no row in the application's table.
    about = about or {"platform": None, "spend": []}
    spend: dict[date, Decimal] = {
        date.fromisoformat(day): amount
        for day, currency, amount in about["spend"]
        if currency == group["currency"]
    }
    zeros = {day: Decimal(0) for day in days if date_notes.is_synced(day)}
    return CampaignRow(
        id=group["campaign_space_id"],
        name=group["name"] or "Campaign without a name",
        platform=about["platform"] or "–",
        currency=currency_name(group["currency"]),
        values=[shown(name, group[name]) for name in NUMBER_COLUMNS],
        sparkline=sparklines.path([{**zeros, **spend}.get(day) for day in days]),
    )
