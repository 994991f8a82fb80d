"""Prints the result of a sync."""

from collections.abc import Sequence
from datetime import date

from dagster import DagsterRunStatus
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engarde_pipeline.cli.terminal import console, errors, visible
from engarde_pipeline.core.counts import PUBLISHED_NAMES, Counts
from engarde_pipeline.core.dates import described_dates
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, METRIC_TABLES
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.rejected import open_reasons
from engarde_pipeline.postgres.reads.quality import days_counted_twice
from engarde_pipeline.runs.history import counts_of_event, event_of_date
from engarde_pipeline.runs.in_process import FinishedRun
from engarde_pipeline.settings import DatabaseSettings

_ENDS = {
    DagsterRunStatus.SUCCESS: "succeeded",
    DagsterRunStatus.FAILURE: "failed",
    DagsterRunStatus.CANCELED: "canceled; the dates that were committed stay",
}


def print_sync(run: FinishedRun, settings: DatabaseSettings, dates: Sequence[date], *, is_slice: bool) -> None:
    """Print a finished run's counts per asset, the problems on its dates, and how it ended."""
    print_counts(run)
    print_empty_dates(run, is_slice=is_slice)
    print_rejected(settings, dates)
    print_days_counted_twice(settings, dates)
    print_end(run)


def print_end(run: FinishedRun) -> None:
    """Print how the run ended and, if it failed, the reasons."""
    for reason in run.reasons:
        console.print(visible(reason), style="red", markup=False)
    console.print(f"Dagster run {run.run_id}: {_ENDS.get(run.status, run.status.value)}.")


def print_counts(run: FinishedRun) -> None:
    """Print the counts of each asset over all landed dates, unless all are zero."""
    totals = _totals(run)
    if not any(any(vars(counts).values()) for _, counts in totals.values()):
        return
    table = Table("records")
    assets = [kind.target for kind in METRIC_TABLES if kind.target in totals]
    for asset in assets:
        table.add_column(asset, justify="right")
    table.add_row("dates", *(str(totals[asset][0]) for asset in assets), end_section=True)
    for name, field in PUBLISHED_NAMES.items():
        if name.startswith("records_"):
            table.add_row(field, *(f"{getattr(totals[asset][1], field):,}" for asset in assets))
    console.print(table)


def print_empty_dates(run: FinishedRun, *, is_slice: bool) -> None:
    """Warn of the landed dates for which BigQuery has no campaign metrics, which may be a mistake in the dates."""
    empty = [
        date.fromisoformat(event.partition)
        for event in map(event_of_date, run.landed)
        if event
        and event.partition
        and event.asset_key.to_user_string() == CAMPAIGN_METRICS.target
        and not counts_of_event(event).source_rows
    ]
    if empty:
        part = " of this slice" if is_slice else ""
        errors.print(
            f"[bold yellow]Warning:[/] BigQuery has no rows{part} in {CAMPAIGN_METRICS.source} for"
            f" {described_dates(empty)}.",
            highlight=False,
        )


def print_rejected(settings: DatabaseSettings, dates: Sequence[date]) -> None:
    """Print why records of `dates` are rejected, and what to do about it."""
    with connect(settings.database_url.get_secret_value()) as connection:
        reasons = open_reasons(connection, dates[0], dates[-1])
    if reasons:
        console.print("Rejected records, kept in rejected_metric_rows:", style="bold")
    for found in reasons:
        days = str(found.first_date)
        if found.last_date != found.first_date:
            days += f" .. {found.last_date}"
        console.print(f"  {found.records} of {found.table_name}: [yellow]{found.reason_code}[/] ({days})")
        console.print(Padding(Text(visible(found.reason), style="dim"), (0, 0, 0, 6)))


def print_days_counted_twice(settings: DatabaseSettings, dates: Sequence[date]) -> None:
    """Print which of `dates` are counted twice in sums, and what to do about it."""
    with connect(settings.database_url.get_secret_value()) as connection:
        found = days_counted_twice(connection, dates)
    if found:
        days = ", ".join(f"{day} ({campaigns})" for day, campaigns in found.items())
        console.print("Counted twice:", style="bold")
        console.print(
            f"  campaigns with both hourly rows and a row for the whole day: {days}. Sums include both. Delete the"
            " rows of one kind in BigQuery, and sync these dates again.",
            markup=False,
        )


def changed_records(run: FinishedRun) -> int:
    """Return how many rows the run inserted, updated or deleted."""
    return sum(counts.changed for _, counts in _totals(run).values())


def _totals(run: FinishedRun) -> dict[str, tuple[int, Counts]]:
    totals: dict[str, tuple[int, Counts]] = {}
    for entry in run.landed:
        event = event_of_date(entry)
        if event is None:
            continue
        asset = event.asset_key.to_user_string()
        days, counts = totals.get(asset, (0, Counts()))
        totals[asset] = days + 1, counts + counts_of_event(event)
    return totals
