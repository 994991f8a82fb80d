"""The dates of a page: its period, the period before, and what is known of each date."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.web.date_ranges import written_range


@dataclass(frozen=True)
class Period:
    """The dates from `start` to `end`, both included."""

    start: date
    end: date
    calendar: Calendar

    @property
    def days(self) -> int:
        """The number of dates up to today (UTC): most accounts have not reached the date ahead."""
        return max(1, (min(self.end, self.calendar.today) - self.start).days + 1)

    @property
    def before_start(self) -> date:
        """The first date of the period of the same length that ends the day before."""
        return date.fromordinal(max(1, self.start.toordinal() - self.days))

    @property
    def before_end(self) -> date:
        """The last date of the period before; before its start if there is none."""
        return date.fromordinal(max(1, self.start.toordinal() - 1))

    @property
    def days_before(self) -> int:
        """The number of dates of the period before."""
        return (self.before_end - self.before_start).days + 1

    def shown_dates(self, last: date, with_numbers: Iterable[date]) -> Iterator[date]:
        """Yield the dates that can have numbers, up to `last`: not those before the first partition."""
        first = max(self.start, min([self.calendar.first_date, *with_numbers]))
        last = min(self.end, last)
        for number in range((last - first).days + 1):
            yield first + timedelta(days=number)


@dataclass(frozen=True)
class Comparison:
    """Whether the figures of a period can be compared with those of the period before, and a sentence about it."""

    is_possible: bool
    sentence: str


def comparison(period: Period, missing: Iterable[date], dates_before: int, has_numbers: bool) -> Comparison:
    """Return whether figures can be compared: if all dates of both periods have been synced.

    `missing` are the dates of the period that have not; today, which is not over, may be one of them.
    `dates_before` is the number of dates of the period before that have. Those that have not can have numbers all
    the same, of some campaigns only.
    """
    days = period.days_before
    before = f"{days} days before" if days > 1 else "day before"
    before = f"the {before}, {written_range(period.before_start, period.before_end)}"
    if not dates_before and not has_numbers:
        have = "have" if days > 1 else "has"
        return Comparison(False, f"There is nothing to compare with: {before}, {have} never been synced.")
    if dates_before < days:
        number = days - dates_before
        what = f"{number} of {before}, {'has' if number == 1 else 'have'}" if days > 1 else f"T{before[1:]}, has"
        return Comparison(False, f"{what} never been synced, so the figures cannot be compared with those before.")
    if number := sum(day < period.calendar.today for day in missing):
        has = "has" if number == 1 else "have"
        return Comparison(
            False, f"Not compared with {before}: {counted(number, 'date')} of this range {has} never been synced."
        )
    return Comparison(True, f"Compared with {before}.")


@dataclass(frozen=True)
class DateNotes:
    """What is known of dates beside their numbers."""

    calendar: Calendar
    missing: frozenset[date]
    provisional_from: date | None
    partial: frozenset[date] = frozenset()
    """Those that were not over everywhere when they were last compared with BigQuery."""

    def is_synced(self, day: date) -> bool:
        """Whether a campaign without a row on `day` had no numbers, so that they are 0."""
        return self.calendar.first_date <= day <= self.calendar.today and day not in self.missing

    def is_partial(self, day: date) -> bool:
        """Whether numbers of `day` may not have been in BigQuery yet."""
        return day in self.partial or day >= self.calendar.today

    def state(self, day: date) -> str:
        """Return the state of a date in words, or nothing for one that is synced and final."""
        if day in self.missing:
            return "missing"
        if self.is_partial(day):
            return "partial day"
        return "provisional" if self.provisional_from and day >= self.provisional_from else ""
