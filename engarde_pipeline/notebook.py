"""Syncs dates from a notebook or a script, as `engarde sync` does.

import engarde_pipeline as engarde

engarde.sync("2026-11-01", "2026-11-07")
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import pandas as pd
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry

from engarde_pipeline.cli.dagster_files import CODE_LOCATION
from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.core.counts import PUBLISHED_NAMES, Counts, total
from engarde_pipeline.core.dates import requested_dates
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.rejected import OpenReason, open_reasons
from engarde_pipeline.postgres.reads import diagnosis
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.runs.history import DID_NOT_LAND, counts_of_event, entries_of, event_of_date, would_not_land
from engarde_pipeline.runs.in_process import FinishedRun, label_of, run_in_process
from engarde_pipeline.runs.run_config import SyncOptions, sync_run


@dataclass(frozen=True)
class DateResult:
    """What a run did for one date of a table: its counts, or the reason why it did not land."""

    day: date
    table: str
    counts: Counts
    failure: str | None


@dataclass(frozen=True)
class SyncResult:
    """A finished sync; a notebook shows it as a table.

    Attributes:
        run_id: The id of the Dagster run, which `bigquery_sync_id` has in Postgres.
        status: How the run ended: success, failure or canceled.
        is_dry_run: Whether nothing was written.
        dates: A result per table and date, in the order of their dates.
        rejected: Why records of these dates are not loaded, the most frequent reason first.
    """

    run_id: str
    status: str
    is_dry_run: bool
    dates: tuple[DateResult, ...]
    rejected: tuple[OpenReason, ...]

    @property
    def counts(self) -> Counts:
        """The counts over all dates and both tables."""
        return total(found.counts for found in self.dates)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per date and table: the counts, and the reason if the date did not land."""
        return pd.DataFrame(
            [
                {
                    "date": found.day,
                    "table": found.table,
                    **{field: getattr(found.counts, field) for field in PUBLISHED_NAMES.values()},
                    "failure": found.failure or "",
                }
                for found in self.dates
            ],
            columns=["date", "table", *PUBLISHED_NAMES.values(), "failure"],
        )

    def __str__(self) -> str:
        dry = " (dry run, nothing was written)" if self.is_dry_run else ""
        failed = sum(found.failure is not None for found in self.dates)
        not_landed = f"; {failed} did not land" if failed else ""
        dates = counted(len({found.day for found in self.dates}), "date")
        return f"Dagster run {self.run_id}: {self.status}{dry}. {dates}: {self.counts.sentence}{not_landed}."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the result as HTML, which Jupyter calls."""
        rejected = "".join(
            f"<li>{found.records} of {escape(found.table_name)}: {escape(found.reason_code)}"
            f" ({found.first_date} .. {found.last_date}). {escape(found.reason)}</li>"
            for found in self.rejected
        )
        reasons = f"<p>Rejected records, kept in rejected_metric_rows:</p><ul>{rejected}</ul>" if rejected else ""
        return f"<p>{escape(str(self))}</p>{self.to_frame().to_html(index=False)}{reasons}"


class DatesNotSynced(EngardeError):
    """Dates did not land, or the run was cancelled; `result` has what did land, and the reason of each date."""

    def __init__(self, message: str, result: SyncResult) -> None:
        super().__init__(message)
        self.result = result


def sync(
    start: date | str,
    end: date | str | None = None,
    *,
    tenant: str | None = None,
    platforms: Sequence[str] = (),
    campaigns: Sequence[str] = (),
    allow_shrink: bool = False,
    allow_growth: bool = False,
    dry_run: bool = False,
) -> SyncResult:
    """Sync all dates from `start` to `end` in a Dagster run in this process, and return what it did.

    The run is recorded in the Dagster instance of DAGSTER_HOME, where the UI shows it. An interrupt cancels it;
    dates that were committed stay. A sync can be repeated at any time: it writes only what differs.

    Args:
        start: The first date: a date, or 2026-11-01, today, yesterday, or -7d for seven days ago (UTC).
        end: The last date, which is included; by default today (UTC).
        tenant: Sync only this tenant (its name or uuid). With a tenant, platforms or campaigns, only that part of
            each date is replaced (a slice), and no date is marked as synced.
        platforms: Sync only these ad platforms.
        campaigns: Sync only these campaigns: uuids of campaign spaces, or ids on the ad platform.
        allow_shrink: Sync even if most rows of a date would be deleted.
        allow_growth: Sync even if a date looks as if its load had run twice.
        dry_run: Write nothing, and return what a sync would do. `failure` then says why a date would not land.

    Raises:
        InvalidSettings: environment variables are missing or malformed.
        InvalidDates: the dates are malformed, in the wrong order or outside the partitions.
        InvalidSlice: there is no such tenant, platform or campaign.
        DatesNotSynced: dates did not land.
    """
    dates = requested_dates(start, end)
    options = SyncOptions(allow_shrink, allow_growth, dry_run)
    spec = sync_run(dates, tenant=tenant, platforms=platforms, campaigns=campaigns, options=options)
    with servers(may_exit=False) as settings:
        database_url = settings.database_url.get_secret_value()
        migrate.check(database_url)
        diagnosis.check_session(database_url)
        with dagster_instance() as instance:
            from engarde_pipeline.definitions import defs  # it needs the settings

            job = defs.resolve_job_def(spec.job)
            with _progress_bar(2 * len(dates)) as bar:

                def show(event: EventLogEntry) -> None:
                    bar.set_description(label_of(event))
                    bar.update()

                run = run_in_process(instance, CODE_LOCATION, job, spec, show)
            results = _date_results(instance, run)
        with connect(database_url) as connection:
            rejected = open_reasons(connection, dates[0], dates[-1])
    result = SyncResult(run.run_id, run.status.value.lower(), dry_run, tuple(results), tuple(rejected))
    if not run.succeeded:
        raise DatesNotSynced(_message(run), result)
    return result


def _progress_bar(total_dates: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, a notebook gets a bar of text
        from tqdm.auto import tqdm

    return tqdm(total=total_dates, unit="date", desc="loading the pipeline")


def _date_results(instance: DagsterInstance, run: FinishedRun) -> list[DateResult]:
    landed = (event for event in map(event_of_date, run.landed) if event)
    results = [
        DateResult(
            date.fromisoformat(event.partition or ""),
            event.asset_key.to_user_string(),
            counts_of_event(event),
            would_not_land(event),
        )
        for event in landed
    ]
    for record in instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ASSET_OBSERVATION).records:
        observation = record.asset_observation
        reason = entries_of(observation).get(DID_NOT_LAND) if observation else None
        if observation and observation.partition and reason:
            day, table = date.fromisoformat(observation.partition), observation.asset_key.to_user_string()
            results.append(DateResult(day, table, Counts(), str(reason.value)))
    return sorted(results, key=lambda found: (found.day, found.table))


def _message(run: FinishedRun) -> str:
    if run.status is DagsterRunStatus.CANCELED:
        return f"The run {run.run_id} was cancelled. Dates that were committed stay; run the sync again."
    return "\n".join(run.reasons) or f"The run {run.run_id} ended with the status {run.status.value}."
