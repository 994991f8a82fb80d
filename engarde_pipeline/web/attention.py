"""What the page Needs attention shows: rejected records by reason, dates that wait for a person, failed jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from engarde_pipeline.api.schemas import SyncJobBody
from engarde_pipeline.core.currencies import by_currency
from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar, needs_attention, state_of
from engarde_pipeline.core.metrics import METRIC_TABLES, TENANT_ID
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.reads.tenant_dates import FAILED, HELD
from engarde_pipeline.runs.job_log import CANCELLED
from engarde_pipeline.runs.run_config import DRY_RUN
from engarde_pipeline.web.date_ranges import written_dates, written_range
from engarde_pipeline.web.freshness import MARKS, TABLE_NAMES
from engarde_pipeline.web.job_view import JobView

JOBS_SEARCHED = 30
"""The number of the latest jobs that are searched for failed ones."""

_ALL_TABLES = ("full_sync", "incremental_sync")
_SOURCES = {table.source: TABLE_NAMES[table] for table in METRIC_TABLES}

_ORDER = list(dict.fromkeys(name for table in METRIC_TABLES for name in (*table.key_names, *table.measure_names)))
"""The names of keys and measures, in the order of the tables."""

_ADVICE = {
    DateState.HELD: HELD,
    DateState.FAILED: FAILED,
    DateState.MISSING: "It should have been synced automatically by now. If it stays missing, tell the operators.",
}


@dataclass(frozen=True)
class Example:
    """A rejected record: where it is and its keys in BigQuery."""

    table: str
    day: str
    keys: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class RejectedGroup:
    """The rejected records of one reason. `spend` has the sums with their currencies."""

    code: str
    name: str
    what_to_do: str
    records: str
    dates: str
    spend: Sequence[tuple[str, Decimal]]
    first_seen_at: datetime
    last_seen_at: datetime
    examples: Sequence[Example]


@dataclass(frozen=True)
class DateProblem:
    """Dates of a table in a state that needs a person. `style` is a class of the style sheet."""

    table: str
    label: str
    style: str
    dates: str
    advice: str


@dataclass(frozen=True)
class Attention:
    """The page."""

    rejected: Sequence[RejectedGroup]
    dates: Sequence[DateProblem]
    jobs: Sequence[JobView]

    @property
    def is_empty(self) -> bool:
        """Whether nothing needs attention."""
        return not (self.rejected or self.dates or self.jobs)


def rejected_group(row: Mapping[str, Any]) -> RejectedGroup:
    """Return a row of `rejected_groups` as it is shown."""
    dates = written_range(row["first_date"], row["last_date"])
    return RejectedGroup(
        code=row["reason_code"],
        name=reason_name(row["reason_code"]),
        what_to_do=row["what_to_do"],
        records=counted(row["records"], "record"),
        dates=dates if row["dates"] == 1 else f"{counted(row['dates'], 'date')}, {dates}",
        spend=[(currency, amount) for currency, amount in by_currency(row["spend"] or {}).items()],
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        examples=[
            Example(table_name(each["table"]), each["date"], shown_keys(each["keys"])) for each in row["examples"]
        ],
    )


def reason_name(code: str) -> str:
    """Return the code of a reason in words."""
    return code.replace("_", " ").capitalize()


def table_name(source: str) -> str:
    """Return the name of a source table."""
    return _SOURCES.get(source, source)


def shown_keys(keys: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the keys or measures of a record with their names; the tenant is the same for all."""
    known = [name for name in _ORDER if name in keys]
    names = [*known, *(name for name in keys if name not in known)]
    return [
        (name.replace("_", " "), str(keys[name]))
        for name in names
        if name != TENANT_ID.name and keys[name] is not None
    ]


def date_problems(facts: Iterable[DateFacts], calendar: SyncCalendar) -> list[DateProblem]:
    """Return the dates that need a person, by table and state."""
    grouped: dict[tuple[str, DateState], list[date]] = {}
    for each in facts:
        state = state_of(each, calendar)
        if state and needs_attention(each, calendar):
            grouped.setdefault((TABLE_NAMES[each.table], state), []).append(each.day)
    order = list(DateState)
    return [
        DateProblem(table, MARKS[state].label, MARKS[state].style, ", ".join(written_dates(days)), _ADVICE[state])
        for (table, state), days in sorted(grouped.items(), key=lambda item: (order.index(item[0][1]), item[0][0]))
    ]


def unresolved(jobs: Sequence[SyncJobBody]) -> list[SyncJobBody]:
    """Return the failed jobs that no later job has made good; `jobs` are the newest first.

    A dry run and a cancelled job are no failures.
    """
    found = []
    for position, job in enumerate(jobs):
        is_failed = job.status == "failed" and not (job.metadata.keys() & {CANCELLED, DRY_RUN})
        if is_failed and not any(_covers(later, job) for later in jobs[:position]):
            found.append(job)
    return found


def _covers(later: SyncJobBody, job: SyncJobBody) -> bool:
    """Return whether a later job has synced everything that a failed one was to sync."""
    if later.status != "completed" or DRY_RUN in later.metadata:
        return False
    if later.job_type not in (*_ALL_TABLES, job.job_type):
        return False
    for limit in ("platforms", "campaign_space_ids"):
        if later.metadata.get(limit) and later.metadata[limit] != job.metadata.get(limit):
            return False
    if not (later.start_date and later.end_date and job.start_date and job.end_date):
        return False
    return later.start_date <= job.start_date and job.end_date <= later.end_date
