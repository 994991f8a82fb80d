"""`engarde status`: shows the state of each date, how the last run ended, and what was rejected."""

import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from engarde_pipeline.cli.servers import dagster_instance, database
from engarde_pipeline.cli.terminal import console, visible

if TYPE_CHECKING:
    import psycopg
    from dagster import DagsterInstance

    from engarde_pipeline.core.date_states import DateFacts, SyncCalendar
    from engarde_pipeline.core.metrics import MetricTable
    from engarde_pipeline.runs.date_states import Failures
    from engarde_pipeline.runs.failing_ticks import FailingTicks
    from engarde_pipeline.settings import DatabaseSettings

_DAYS_OF_BYTES = 7
_REASONS_SHOWN = 10
_UNLIMITED = 10_000


@dataclass(frozen=True)
class _History:
    """What Dagster's history knows, or the reason in `error` why it could not be read."""

    failures: "Failures" = field(default_factory=dict)
    recorded: "Mapping[MetricTable, set[date]] | None" = None
    last_run: str = ""
    source: "FailingTicks | None" = None
    error: str | None = None


def status(
    days: Annotated[
        int, typer.Option(min=1, max=3660, metavar="NUMBER", help="How many dates to show, up to today (UTC).")
    ] = 30,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object; docs/trust.md describes it.")
    ] = False,
) -> None:
    """Show the state of each date in both tables, the reasons of those that need a person, and the last run.

    A date is held (its load looked wrong and was refused), failed (its last sync failed), missing (never synced),
    partial (its day is not over everywhere), provisional (an ad platform may still restate it:
    ENGARDE_RESTATEMENT_DAYS, by default 30 days) or complete. The exit code is 1 if a date needs a person: if it
    is held or failed, or missing although it should have been synced automatically; also if BigQuery or Dagster's
    history cannot be read. `engarde plan` shows which dates will be synced next.
    """
    from engarde_pipeline.cli.report import print_rejected
    from engarde_pipeline.core.date_states import current_calendar, needs_attention, state_of
    from engarde_pipeline.core.dates import dates_ahead, latest_date
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.date_states import date_facts
    from engarde_pipeline.runs.planning import window

    calendar = current_calendar()
    first = calendar.today - timedelta(days=days - 1)
    recent = {first + timedelta(days=n) for n in range(days)}
    dates = {day for day in {*recent, *dates_ahead(calendar.now)} if day >= calendar.first_date}
    with database() as settings:
        database_url = settings.database_url.get_secret_value()
        migrate.check(database_url)
        history = _read_history()
        with connect(database_url) as connection:
            facts = [
                found
                for found in date_facts(connection, {*dates, *window(calendar.now)}, history.failures)
                if (found.day in dates and state_of(found, calendar)) or needs_attention(found, calendar)
            ]
            is_unreadable = bool(history.error or history.source)
            needs_person = is_unreadable or any(needs_attention(found, calendar) for found in facts)
            if as_json:
                typer.echo(json.dumps(_document(facts, calendar, history, needs_person), indent=2))
            else:
                _print_dates(facts, calendar, dates)
                _print_history(history, facts)
                _print_bytes(settings, connection)
                print_rejected(settings, [first, latest_date(calendar.now)])
    if needs_person:
        raise typer.Exit(1)


def _read_history() -> _History:
    from engarde_pipeline.cli.dagster_home import DagsterHomeUnusable, DagsterUnavailable
    from engarde_pipeline.core.metrics import METRIC_TABLES
    from engarde_pipeline.runs.date_states import read_failures
    from engarde_pipeline.runs.failing_ticks import failing_ticks
    from engarde_pipeline.runs.history import recorded_dates

    try:
        with dagster_instance() as instance:
            return _History(
                read_failures(instance),
                {table: recorded_dates(instance, table) for table in METRIC_TABLES},
                _last_run(instance),
                failing_ticks(instance),
            )
    except (DagsterHomeUnusable, DagsterUnavailable) as error:
        return _History(error=str(error))


def _document(
    facts: "Sequence[DateFacts]", calendar: "SyncCalendar", history: _History, needs_person: bool
) -> dict[str, Any]:
    from engarde_pipeline.core.date_states import needs_attention, state_of

    return {
        "as_of": calendar.now.isoformat(),
        "needs_attention": needs_person,
        "history_error": history.error,
        "source_error": history.source
        and {"since": history.source.since.isoformat(), "reason": history.source.error},
        "dates": [
            {
                "table": found.table.target,
                "date": found.day.isoformat(),
                "state": state_of(found, calendar),
                "needs_attention": needs_attention(found, calendar),
                "reason": found.reason,
                "synced_at": found.synced_at and found.synced_at.isoformat(),
                "compared_at": found.compared_at and found.compared_at.isoformat(),
                "rows": found.rows,
                "spend": _numbers(found.spend),
                "revenue": _numbers(found.revenue),
                "rejected_records": found.rejected_records,
                "rejected_spend": _numbers(found.rejected_spend),
                "rejected_spend_share": dict(found.rejected_spend_share),
            }
            for found in facts
        ],
    }


def _numbers(sums: Mapping[str, Any] | None) -> dict[str, float] | None:
    return None if sums is None else {currency: float(amount) for currency, amount in sums.items()}


def _print_dates(facts: "Sequence[DateFacts]", calendar: "SyncCalendar", dates: Set[date]) -> None:
    from engarde_pipeline.cli.date_states import reasons, summaries
    from engarde_pipeline.core.date_states import DateState, needs_attention, state_of
    from engarde_pipeline.core.dates import described_dates

    shown = [found for found in facts if found.day in dates]
    older = [found for found in facts if found.day not in dates]
    tables = (_dates_table(shown, calendar, details) for details in (2, 1, 0))
    unlimited = console.options.update_width(_UNLIMITED)
    fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= console.width)
    console.print(next(fitting, _dates_table(shown, calendar, details=0)))
    for summary in summaries(shown, calendar):
        console.print(f"{summary}.", highlight=False)
    if older:
        first = min(found.day for found in older)
        console.print(
            f"Older dates that need a person, since {first}: {'; '.join(summaries(older, calendar))}. To show"
            f" them, use --days {(calendar.today - first).days + 1}.",
            style="red",
            highlight=False,
        )
    _print_reasons(
        "Held dates keep their rows, because their last load looked wrong. Repair the load, or release them:",
        reasons(facts, calendar, DateState.HELD),
    )
    _print_reasons(
        "Failed dates keep their rows, because their last sync failed. Those that are due are synced again every"
        " hour; `engarde sync` does it now:",
        reasons(facts, calendar, DateState.FAILED),
    )
    overdue = {
        found.day
        for found in facts
        if state_of(found, calendar) is DateState.MISSING and needs_attention(found, calendar)
    }
    if overdue:
        console.print(
            f"Missing although they should have been synced automatically: {described_dates(overdue)}. Check that"
            " Dagster's daemon is running, and its sensors and schedules are on. `engarde plan` shows what is due,"
            " and `engarde sync` does it now.",
            style="yellow",
            highlight=False,
        )


def _dates_table(facts: "Sequence[DateFacts]", calendar: "SyncCalendar", details: int) -> Table:
    """Return the table of dates; `details` is 0 for 80 columns, and 1 or 2 where there is more space."""
    from engarde_pipeline.cli.date_states import state_text
    from engarde_pipeline.core.date_states import state_of
    from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("date", no_wrap=True)
    for name in ("campaigns", "assets"):
        table.add_column(name, no_wrap=True)
        table.add_column("rows", justify="right", no_wrap=True)
    if details:
        table.add_column("synced (UTC)", no_wrap=True)
    table.add_column("rejected", justify="right", no_wrap=True)
    if details:
        table.add_column("of spend", justify="right", no_wrap=True)
    table.add_column("spend", justify="right", no_wrap=True)
    if details > 1:
        table.add_column("revenue", justify="right", no_wrap=True)
    by_date: dict[date, dict[MetricTable, DateFacts]] = {}
    for found in facts:
        by_date.setdefault(found.day, {})[found.table] = found
    decimals, moment = (2, "%Y-%m-%d %H:%M") if details > 1 else (0, "%m-%d %H:%M")
    for day, of_day in by_date.items():
        campaigns, assets = of_day.get(CAMPAIGN_METRICS), of_day.get(ASSET_METRICS)
        row: list[str | Text] = [str(day)]
        for of_table in (campaigns, assets):
            row += [state_text(state_of(of_table, calendar)), _rows(of_table)] if of_table else ["", ""]
        if details:
            synced_at = campaigns and campaigns.synced_at
            row.append(f"{synced_at.astimezone(UTC):{moment}}" if synced_at else "")
        row.append(str(sum(found.rejected_records for found in of_day.values()) or ""))
        if details:
            row.append(_shares(campaigns.rejected_spend_share) if campaigns else "")
        row.append(_by_currency((campaigns and campaigns.spend) or {}, decimals))
        if details > 1:
            row.append(_by_currency((campaigns and campaigns.revenue) or {}, decimals))
        table.add_row(*row)
    return table


def _rows(found: "DateFacts") -> str:
    return "" if found.rows is None else f"{found.rows:,}"


def _by_currency(sums: Mapping[str, Any], decimals: int) -> str:
    return "\n".join(f"{amount:,.{decimals}f} {currency}".rstrip() for currency, amount in sums.items())


def _shares(shares: Mapping[str, float]) -> str:
    return "\n".join(f"{share:.1%} {currency}".rstrip() for currency, share in shares.items())


def _print_reasons(heading: str, lines: Sequence[str]) -> None:
    if lines:
        console.print(heading, style="red", highlight=False)
    for line in lines[:_REASONS_SHOWN]:
        console.print(f"  {visible(line)}", highlight=False, markup=False, soft_wrap=True)
    if len(lines) > _REASONS_SHOWN:
        console.print(f"  ... and {len(lines) - _REASONS_SHOWN} more; --json has all of them.", highlight=False)


def _print_history(history: _History, facts: "Sequence[DateFacts]") -> None:
    if history.recorded is None:
        console.print(
            f"Dagster's history could not be read, so that failed syncs are not shown. {history.error}",
            style="red",
            highlight=False,
            markup=False,
        )
        return
    if failing := history.source:
        console.print(
            f"BigQuery could not be read since {failing.since:%Y-%m-%d %H:%M} UTC: {visible(failing.error)}",
            style="red",
            highlight=False,
            markup=False,
        )
    recorded = history.recorded
    if days := {found.day for found in facts if found.synced_at and found.day not in recorded[found.table]}:
        console.print(
            f"Dagster's history in {os.environ['DAGSTER_HOME']} lacks dates that Postgres has: {len(days)}. Check"
            " that DAGSTER_HOME is the directory that the syncs use. If the history was lost, see"
            " docs/recovery.md.",
            style="yellow",
            highlight=False,
        )
    console.print(history.last_run, highlight=False)


def _last_run(instance: "DagsterInstance") -> str:
    from engarde_pipeline.runs.sync_runs import is_dry_run, job_of

    records = instance.get_run_records(limit=1)
    if not records:
        return "There has been no run yet. Start one with `engarde sync` or in the Dagster UI."
    run = records[0].dagster_run
    job = f"{job_of(run)}, a dry run" if is_dry_run(run) else job_of(run)
    return (
        f"The last run, {run.run_id} ({job}), was created {records[0].create_timestamp:%Y-%m-%d %H:%M} UTC:"
        f" {run.status.value.lower()}."
    )


def _print_bytes(settings: "DatabaseSettings", connection: "psycopg.Connection") -> None:
    from engarde_pipeline.postgres.reads.usage import bytes_by_day

    read = bytes_by_day(connection, _DAYS_OF_BYTES)
    budget = settings.engarde_daily_bytes
    days = ", ".join(f"{day:%m-%d} {size:,}" for day, size in read.items()) or "none"
    console.print(f"Bytes read from BigQuery per day (daily budget: {budget:,}): {days}.", highlight=False)
