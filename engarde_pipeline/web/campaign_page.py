"""What the page of a campaign shows, from the rows that the database returns for it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from engarde_pipeline.core.dates import latest_date
from engarde_pipeline.web.charts import ByDate
from engarde_pipeline.web.currency_blocks import (
    BlockNumbers,
    Currency,
    CurrencyBlock,
    before_by_currency,
    blocks,
    dates_with_numbers,
    parse_numbers,
)
from engarde_pipeline.web.metric_values import Sums, label, shown, sums_of
from engarde_pipeline.web.page_parameters import PageParameters
from engarde_pipeline.web.periods import DateNotes, Period, comparison
from engarde_pipeline.web.rendering import currency_name
from engarde_pipeline.web.trust_notes import Note, notes, read_trust

DATE_COLUMNS = ("spend", "revenue", "roas", "impressions", "clicks", "ctr", "conversions")

CREATIVE_COLUMNS = ("spend", "impressions", "clicks", "ctr", "engagements", "engagement_rate", "conversions")

_JOB_DIGITS = 8
"""As many of a job's id as Dagster's UI shows."""


@dataclass(frozen=True)
class DateRow:
    """A date in one currency, and the job that last changed it."""

    day: date
    state: str
    currency: str
    values: list[str]
    job_id: str

    @property
    def job(self) -> str:
        """The beginning of the job's id."""
        return self.job_id[:_JOB_DIGITS]


@dataclass(frozen=True)
class CreativeRow:
    """A creative, in one currency."""

    name: str
    currency: str
    values: list[str]


@dataclass(frozen=True)
class Campaign:
    """The page of a campaign."""

    name: str
    platform: str
    external_id: str
    blocks: list[CurrencyBlock]
    date_headers: list[str]
    dates: list[DateRow]
    creative_headers: list[str]
    creatives: list[CreativeRow]
    creatives_sentence: str
    notes: list[Note]
    comparison: str
    overview_query: str


def campaign(
    row: Mapping[str, Any],
    assets: Mapping[str, Any],
    parameters: PageParameters,
    period: Period,
    default_days: int,
) -> Campaign:
    """Return the page; `row` has the columns of `page_queries.campaign`, and `assets` those of `groups`."""
    trust = read_trust(row["trust"])
    date_notes = trust.date_notes(period.calendar, row["partial_dates"])
    days = [_day(values) for values in parse_numbers(row["days"])]
    now = _by_currency(days, label(parameters.measure))
    shown_dates = list(period.shown_dates(latest_date(), dates_with_numbers(now)))
    before = before_by_currency(row["before"]) if now or trust.synced_at else {}
    compared = comparison(period, trust.missing_dates, row["dates_before"], has_numbers=bool(before))
    numbers = BlockNumbers(now, before, compared.is_possible, parameters.measure, shown_dates, date_notes)
    creatives = [_creative(group) for group in parse_numbers(assets["groups"])]
    return Campaign(
        name=row["name"] or "Campaign without a name",
        platform=row["platform"] or "–",
        external_id=row["external_campaign_id"] or "not connected",
        blocks=blocks(numbers),
        date_headers=[label(name) for name in DATE_COLUMNS],
        dates=[_date_row(each, date_notes) for each in reversed(days)],
        creative_headers=[label(name) for name in CREATIVE_COLUMNS],
        creatives=creatives,
        creatives_sentence=f"{len(creatives)} of {assets['total']:,}, by spend."
        " Creatives need not add up to their campaign.",
        notes=notes(trust, period, row["held_dates"]),
        comparison=compared.sentence,
        overview_query=parameters.range_query(default_days),
    )


@dataclass(frozen=True)
class _Day:
    day: date
    job_id: str
    currency: Currency
    sums: Sums


def _day(values: list[Any]) -> _Day:
    day, job_id, currency, *measures = values
    return _Day(date.fromisoformat(day), job_id, currency, sums_of(measures))


def _by_currency(days: list[_Day], line: str) -> dict[Currency, dict[str, ByDate]]:
    found: dict[Currency, dict[str, dict[date, Sums]]] = defaultdict(lambda: defaultdict(dict))
    for each in days:
        found[each.currency][line][each.day] = each.sums
    return {currency: dict(lines) for currency, lines in found.items()}


def _date_row(each: _Day, date_notes: DateNotes) -> DateRow:
    values = [shown(name, each.sums.value(name)) for name in DATE_COLUMNS]
    return DateRow(each.day, date_notes.state(each.day), currency_name(each.currency), values, each.job_id)


def _creative(group: Mapping[str, Any]) -> CreativeRow:
    values = [shown(name, group[name]) for name in CREATIVE_COLUMNS]
    return CreativeRow(group["name"] or "Creative without a name", currency_name(group["currency"]), values)
