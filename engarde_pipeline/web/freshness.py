"""What the page Freshness shows: the state of each date of both tables, as a word and a symbol."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar, needs_attention, state_of
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.web.date_ranges import written_dates

TABLE_NAMES = {CAMPAIGN_METRICS: "Campaigns", ASSET_METRICS: "Creatives"}
"""The tables as their readers know them."""


@dataclass(frozen=True)
class Mark:
    """How a state is shown. `style` is a class of the style sheet."""

    label: str
    symbol: str
    style: str
    meaning: str


MARKS: dict[DateState, Mark] = {
    DateState.COMPLETE: Mark(
        "complete", "✓", "good", "The numbers are those of BigQuery, and final as far as ad platforms say."
    ),
    DateState.PROVISIONAL: Mark(
        "provisional", "~", "good", "The numbers are those of BigQuery; an ad platform may still restate them."
    ),
    DateState.PARTIAL: Mark(
        "partial day", "◔", "muted", "The day was not over everywhere when it was last compared with BigQuery."
    ),
    DateState.MISSING: Mark("missing", "?", "warn", "The date was never synced: there is no number, not zero."),
    DateState.HELD: Mark(
        "held",
        "‖",
        "bad",
        "The last load looked wrong and was refused. The date keeps the numbers of the load before, if any.",
    ),
    DateState.FAILED: Mark(
        "failed", "✕", "bad", "The last sync failed. The date keeps the numbers of the sync before, if any."
    ),
    DateState.NO_TABLE: Mark("no source", "–", "muted", "BigQuery has no such table."),
}

NOT_EXPECTED = Mark("not expected yet", "·", "muted", "Most ad accounts have not reached this date.")
"""A date without numbers that is not missing, such as the date ahead of UTC."""


@dataclass(frozen=True)
class ShownDate:
    """A date of a table."""

    day: date
    mark: Mark
    rejected_records: int
    synced_at: datetime | None
    compared_at: datetime | None

    @property
    def rejected(self) -> str:
        """The number of rejected records in words, or an empty text."""
        return counted(self.rejected_records, "rejected record") if self.rejected_records else ""

    @property
    def sentence(self) -> str:
        """The date and its state in words, for those who do not see the symbol."""
        return ", ".join(filter(None, (f"{self.day}: {self.mark.label}", self.rejected)))


@dataclass(frozen=True)
class Month:
    """The dates of a month, the first one first."""

    name: str
    dates: Sequence[ShownDate]


@dataclass(frozen=True)
class Strip:
    """The dates of a table, by month."""

    name: str
    months: Sequence[Month]
    summary: str


@dataclass(frozen=True)
class DateRow:
    """A date of both tables, which `dates` has in the order of the strips."""

    day: date
    dates: Sequence[ShownDate]


@dataclass(frozen=True)
class Freshness:
    """The page. `older` are the dates before those that are shown which need a person, or an empty text."""

    strips: Sequence[Strip]
    rows: Sequence[DateRow]
    last_synced_at: datetime | None
    last_compared_at: datetime | None
    older: str


def shown_days(days: int, calendar: SyncCalendar, latest: date) -> list[date]:
    """Return the last `days` dates, up to today and the date that has begun only ahead of UTC."""
    first = max(calendar.first_date, calendar.today - timedelta(days=days - 1))
    return [first + timedelta(days=n) for n in range((latest - first).days + 1)]


def freshness(facts: Iterable[DateFacts], days: Sequence[date], calendar: SyncCalendar) -> Freshness:
    """Return the page of `days`, which are consecutive."""
    known = list(facts)
    shown = [each for each in known if days[0] <= each.day <= days[-1]]
    older = {each.day for each in known if each.day < days[0] and needs_attention(each, calendar)}
    by_table = {table: _dates_of(table, shown, calendar) for table in TABLE_NAMES}
    return Freshness(
        strips=[_strip(TABLE_NAMES[table], dates) for table, dates in by_table.items()],
        rows=[DateRow(each[0].day, each) for each in zip(*(reversed(d) for d in by_table.values()), strict=True)],
        last_synced_at=max((each.synced_at for each in shown if each.synced_at), default=None),
        last_compared_at=max((each.compared_at for each in shown if each.compared_at), default=None),
        older=", ".join(written_dates(older)),
    )


def shown_date(facts: DateFacts, calendar: SyncCalendar) -> ShownDate:
    """Return a date as it is shown."""
    state = state_of(facts, calendar)
    mark = MARKS[state] if state else NOT_EXPECTED
    return ShownDate(facts.day, mark, facts.rejected_records, facts.synced_at, facts.compared_at)


def _dates_of(table: MetricTable, facts: Iterable[DateFacts], calendar: SyncCalendar) -> list[ShownDate]:
    dates = [shown_date(each, calendar) for each in facts if each.table is table]
    return sorted(dates, key=lambda each: each.day)


def _strip(name: str, dates: Sequence[ShownDate]) -> Strip:
    months = [
        Month(f"{first:%B %Y}", list(of_month))
        for first, of_month in groupby(dates, key=lambda each: each.day.replace(day=1))
    ]
    numbers = Counter(each.mark.label for each in dates)
    labels = [mark.label for mark in (*MARKS.values(), NOT_EXPECTED)]
    rejected = sum(each.rejected_records for each in dates)
    parts = [f"{numbers[label]} {label}" for label in labels if numbers[label]]
    parts += [counted(rejected, "rejected record")] if rejected else []
    return Strip(name, months, ", ".join(parts))
