"""The state of a date of a metric table, by one rule for every place that shows it.

docs/trust.md explains the states to their readers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from engarde_pipeline.core.currencies import ByCurrency
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.settings import load_pipeline_settings

MISSING_TABLE = "missing"
"""The version of every date of an optional table that does not exist in BigQuery."""

_HOURS_BEHIND = timedelta(hours=12)
"""A date is over in UTC-12, and so everywhere, this long after it is over in UTC."""


class DateState(StrEnum):
    """The states of a date of a table. The first one that applies, in this order, is its state."""

    HELD = "held"
    FAILED = "failed"
    MISSING = "missing"
    NO_TABLE = "no_table"
    PARTIAL = "partial"
    PROVISIONAL = "provisional"
    COMPLETE = "complete"

    @property
    def label(self) -> str:
        """The state in words."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class SyncCalendar:
    """The moment at which states are derived, and which dates are synced and may be restated."""

    now: datetime
    first_date: date
    window_days: int
    provisional_days: int

    @property
    def today(self) -> date:
        """The date in UTC."""
        return self.now.astimezone(UTC).date()

    def is_provisional(self, day: date) -> bool:
        """Return whether an ad platform may still restate a date."""
        return day > self.today - timedelta(days=self.provisional_days)

    def can_be_missing(self, day: date) -> bool:
        """Return whether a date should be in Postgres: most accounts have not reached a date ahead of UTC."""
        return self.first_date <= day <= self.today

    def is_overdue(self, day: date) -> bool:
        """Return whether a date should have been synced by now: it is in the window, and began before today."""
        return self.can_be_missing(day) and timedelta(0) < self.today - day < timedelta(days=self.window_days)


def current_calendar(now: datetime | None = None) -> SyncCalendar:
    """Return the calendar of the settings at `now`, by default the current time."""
    settings = load_pipeline_settings()
    return SyncCalendar(
        now=now or datetime.now(UTC),
        first_date=settings.engarde_first_date,
        window_days=settings.engarde_window_days,
        provisional_days=settings.engarde_restatement_days.longest,
    )


def is_provisional(day: date) -> bool:
    """Return whether an ad platform may still restate a date (ENGARDE_RESTATEMENT_DAYS)."""
    return current_calendar().is_provisional(day)


FailedDay = tuple[MetricTable, date]
"""A date of a table whose last sync failed."""


@dataclass(frozen=True)
class DateFacts:
    """What is known of a date of a table.

    `synced_at` is None if the date was never synced; a synced date has `compared_at`, the moment at which it was
    last compared with BigQuery. `has_table` is False if BigQuery had no such table then. `held` is the evidence if
    the last load was refused, with its run in `held_by`. `failed` is the reason if the last sync of the date
    failed otherwise. `rows`, `spend` and `revenue` are of Postgres, `source_spend` is BigQuery's at the last sync;
    None is unknown. `rejected_spend` is the spend of the open rejected records, as far as it is a valid amount.
    """

    table: MetricTable
    day: date
    synced_at: datetime | None = None
    compared_at: datetime | None = None
    has_table: bool = True
    held: str | None = None
    held_by: UUID | None = None
    failed: str | None = None
    rows: int | None = None
    spend: ByCurrency | None = None
    revenue: ByCurrency | None = None
    source_spend: ByCurrency | None = None
    rejected_records: int = 0
    rejected_spend: ByCurrency = field(default_factory=dict)

    @property
    def reason(self) -> str | None:
        """Why the date is held, failed or without a source."""
        if self.held is not None:
            return self.held
        if self.failed is not None:
            return self.failed
        return None if self.has_table else f"BigQuery has no table {self.table.source}."

    @property
    def rejected_spend_share(self) -> Mapping[str, float]:
        """The share of BigQuery's spend that is rejected, by currency; without currencies that have no spend."""
        source = self.source_spend or {}
        return {
            currency: float(min(rejected / source[currency], Decimal(1)))
            for currency, rejected in self.rejected_spend.items()
            if source.get(currency)
        }


def state_of(facts: DateFacts, calendar: SyncCalendar) -> DateState | None:
    """Return the state of a date, or None for a date without rows that cannot be missing."""
    if facts.held is not None:
        return DateState.HELD
    if facts.failed is not None:
        return DateState.FAILED
    if facts.compared_at is None:
        return DateState.MISSING if calendar.can_be_missing(facts.day) else None
    if not facts.has_table:
        return DateState.NO_TABLE
    # By when BigQuery was last compared, not by the clock: what came after that is not in Postgres.
    if facts.compared_at < _end_everywhere(facts.day):
        return DateState.PARTIAL
    return DateState.PROVISIONAL if calendar.is_provisional(facts.day) else DateState.COMPLETE


def needs_attention(facts: DateFacts, calendar: SyncCalendar) -> bool:
    """Return whether a person has to act on a date.

    A held date waits for a decision, and a failed one may fail again. A missing date is synced automatically
    within an hour if it is in the window; one that began before today is missing because no sensor or schedule
    runs. An older date is nobody's fault: it was never backfilled.
    """
    match state_of(facts, calendar):
        case DateState.HELD | DateState.FAILED:
            return True
        case DateState.MISSING:
            return calendar.is_overdue(facts.day)
    return False


def _end_everywhere(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC) + _HOURS_BEHIND
