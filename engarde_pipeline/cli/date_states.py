"""Prints the states of dates, in the commands that show them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date

from rich.text import Text

from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar, state_of
from engarde_pipeline.core.dates import described_dates
from engarde_pipeline.core.metrics import METRIC_TABLES

_STYLES = {
    DateState.HELD: "red",
    DateState.FAILED: "red",
    DateState.MISSING: "yellow",
    DateState.NO_TABLE: "dim",
    DateState.PARTIAL: "cyan",
    DateState.PROVISIONAL: "cyan",
    DateState.COMPLETE: "green",
}


def state_text(state: DateState | None) -> Text:
    """Return a state as a colored word; it is empty for a date that is not expected to have numbers."""
    return Text(state.label, _STYLES[state]) if state else Text()


def counted_states(states: Iterable[DateState | None]) -> str:
    """Return how many dates have each state, such as "1 held, 29 provisional"."""
    numbers = Counter(states)
    return ", ".join(f"{numbers[state]} {state.label}" for state in DateState if numbers[state])


def summaries(facts: Sequence[DateFacts], calendar: SyncCalendar) -> list[str]:
    """Return how many dates of each table have each state."""
    by_table = {
        table: counted_states(state_of(each, calendar) for each in facts if each.table is table)
        for table in METRIC_TABLES
    }
    return [f"{table.target}: {states}" for table, states in by_table.items() if states]


def reasons(facts: Iterable[DateFacts], calendar: SyncCalendar, state: DateState) -> list[str]:
    """Return a line for each reason of the dates in a state, with the dates that have it in common."""
    grouped: dict[tuple[str, str], list[date]] = {}
    for each in facts:
        if state_of(each, calendar) is state:
            # The evidence of a held date names the table and the date, too.
            reason = (each.reason or "").removeprefix(f"{each.table.target} {each.day}: ")
            grouped.setdefault((each.table.target, reason), []).append(each.day)
    return [f"{table} {described_dates(days)}: {reason}" for (table, reason), days in grouped.items()]
