"""How far to trust the numbers of a page, in sentences."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.web.date_ranges import RANGES, written_dates
from engarde_pipeline.web.periods import DateNotes, Period
from engarde_pipeline.web.rendering import moment

_MAX_RANGES = 5
"""The number of ranges of missing dates that are named."""


@dataclass(frozen=True)
class Note:
    """A sentence, and the page that says more about it."""

    text: str
    link: str | None = None
    link_text: str = ""
    is_warning: bool = False


@dataclass(frozen=True)
class Trust:
    """The trust of a response; see `with_trust`."""

    synced_at: datetime | None
    missing_dates: frozenset[date]
    provisional_from: date | None
    rejected_records: int

    def date_notes(self, calendar: Calendar, partial_dates: Iterable[date]) -> DateNotes:
        """Return what is known of dates."""
        return DateNotes(calendar, self.missing_dates, self.provisional_from, frozenset(partial_dates))


def read_trust(text: str) -> Trust:
    """Return the trust in the column `trust`."""
    values: Mapping[str, Any] = json.loads(text)
    synced_at, provisional_from = values["synced_at"], values["provisional_from"]
    return Trust(
        datetime.fromisoformat(synced_at) if synced_at else None,
        frozenset(map(date.fromisoformat, values["missing_dates"])),
        date.fromisoformat(provisional_from) if provisional_from else None,
        values["rejected_records"],
    )


def notes(trust: Trust, period: Period, held_dates: Iterable[date]) -> list[Note]:
    """Return what a reader needs to know, in the order in which it matters."""
    # The ranges that these pages have; the last one may be shorter than this page's.
    days = (period.calendar.today - period.start).days
    reaching = next((each for each in RANGES if each > days), RANGES[-1])
    freshness, attention = f"/freshness?days={reaching}", f"/attention?days={reaching}"
    found = [_compared(trust, freshness)]
    if trust.missing_dates and trust.synced_at:
        number = counted(len(trust.missing_dates), "date")
        text = f"{number} in this range {'has' if len(trust.missing_dates) == 1 else 'have'} never been synced:"
        found.append(Note(f"{text} {_listed(trust.missing_dates)}.", freshness, "Freshness", is_warning=True))
    # A held date without numbers is one that was never synced.
    if held := frozenset(held_dates) - trust.missing_dates:
        found.append(Note(_held(held), attention, "Needs attention", is_warning=True))
    if trust.rejected_records:
        found.append(Note(_rejected(trust), attention, "Needs attention", is_warning=True))
    if period.start <= (today := period.calendar.today) <= period.end:
        found.append(Note(f"Today ({today}, UTC) is not over, so its numbers are partial."))
    if trust.provisional_from and trust.provisional_from < today:
        found.append(
            Note(f"Numbers from {trust.provisional_from} on are provisional: platforms may restate them.")
        )
    return found


def _compared(trust: Trust, freshness: str) -> Note:
    if trust.synced_at is None:
        return Note("None of these dates has ever been synced.", freshness, "Freshness", is_warning=True)
    return Note(f"Compared with BigQuery at {moment(trust.synced_at)} or later.", freshness, "Freshness")


def _held(dates: frozenset[date]) -> str:
    is_held, its, shows = ("is held", "its", "shows") if len(dates) == 1 else ("are held", "their", "show")
    text = f"{counted(len(dates), 'date')} {is_held}, because {its} last load looked wrong,"
    return f"{text} and {shows} the numbers of an earlier sync: {_listed(dates)}."


def _rejected(trust: Trust) -> str:
    number = counted(trust.rejected_records, "record")
    verb = "is" if trust.rejected_records == 1 else "are"
    # The page behind the link has their spend, by currency.
    return f"{number} could not be loaded and {verb} not in these numbers."


def _listed(dates: frozenset[date]) -> str:
    ranges = written_dates(dates)
    more = len(ranges) - _MAX_RANGES
    return ", ".join(ranges[:_MAX_RANGES]) + (f" and {counted(more, 'more range')}" if more > 0 else "")
