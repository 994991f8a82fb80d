"""`engarde status`: shows which dates are synced, how the last run ended, and what was rejected."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from engarde_pipeline.cli.servers import dagster_instance, database
from engarde_pipeline.cli.terminal import console, visible

if TYPE_CHECKING:
    from dagster import DagsterInstance, EventLogRecord

    from engarde_pipeline.postgres.load.held_dates import HeldDate
    from engarde_pipeline.settings import DatabaseSettings

_WIDE = 100
"""The terminal width from which revenue, years and cents are shown."""

_DAYS_OF_BYTES = 7
_HELD_SHOWN = 10


def status(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many dates to show, up to today (UTC).")] = 30,
) -> None:
    """Show which dates are synced, when, with how many rows and rejected records, and how the last run ended.

    A date is held if its last load looked wrong and was refused; the reason is shown below the table. A date is
    provisional while an ad platform may still restate it: ENGARDE_RESTATEMENT_DAYS, by default 30 days. `engarde
    plan` shows which dates will be synced next.
    """
    from dagster import AssetKey

    from engarde_pipeline.cli.report import print_rejected
    from engarde_pipeline.core.dates import dates_ahead, today
    from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.load.held_dates import held_dates
    from engarde_pipeline.postgres.load.synced_dates import synced_moments
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.history import latest_materializations

    last = today()
    dates = [*dates_ahead(), *(last - timedelta(days=n) for n in range(days))]
    with database() as settings:
        database_url = settings.database_url.get_secret_value()
        migrate.check(database_url)
        with connect(database_url) as connection:
            noted = synced_moments(connection, CAMPAIGN_METRICS)
            held = held_dates(connection)
        with dagster_instance() as instance:
            campaigns = latest_materializations(instance, AssetKey(CAMPAIGN_METRICS.target), dates)
            assets = latest_materializations(instance, AssetKey(ASSET_METRICS.target), dates)
            synced = campaigns.keys() | noted.keys()
            # A date ahead of UTC is not missing: most accounts have not reached it.
            dates = [day for day in dates if day <= last or day in synced]
            dates_held = {date_held.day for date_held in held if date_held.table_name == CAMPAIGN_METRICS.target}
            console.print(_dates_table(dates, campaigns, assets, noted, dates_held))
            missing = len([day for day in dates if day not in synced])
            console.print(f"{len(dates) - missing} of {len(dates)} dates are synced, {missing} are missing.")
            _print_held(held)
            _print_unrecorded([day for day in dates if day in noted and day not in campaigns])
            _print_last_run(instance)
        _print_bytes(settings)
        print_rejected(settings, dates[::-1])


def _dates_table(
    dates: list[date],
    campaigns: dict[date, "EventLogRecord"],
    assets: dict[date, "EventLogRecord"],
    noted: dict[date, datetime],
    held: set[date],
) -> Table:
    from engarde_pipeline.core.currencies import from_published
    from engarde_pipeline.core.dates import is_provisional
    from engarde_pipeline.runs.history import metadata_of

    is_wide = console.width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in ("date", "state", "synced (UTC)"):
        table.add_column(column, no_wrap=True)
    for column in ("campaigns", "assets", "rejected", "spend", *(["revenue"] if is_wide else [])):
        table.add_column(column, justify="right", no_wrap=True)
    for day in dates:
        if day not in campaigns and day not in noted:
            table.add_row(str(day), "[red]held[/]" if day in held else "[yellow]missing[/]")
            continue
        state = "[cyan]provisional[/]" if is_provisional(day) else "[green]synced[/]"
        state = "[red]held[/]" if day in held else state
        moment = "%Y-%m-%d %H:%M" if is_wide else "%m-%d %H:%M"
        if day not in campaigns:  # its counts are only in Dagster's history
            table.add_row(str(day), state, f"{noted[day].astimezone(UTC):{moment}}")
            continue
        campaign = metadata_of(campaigns[day])
        asset = metadata_of(assets[day]) if day in assets else {}
        rejected = sum(int(str(found.get("records_rejected", 0))) for found in (campaign, asset))
        table.add_row(
            str(day),
            state,
            f"{datetime.fromtimestamp(campaigns[day].timestamp, UTC):{moment}}",
            _rows(campaign),
            _rows(asset),
            str(rejected or ""),
            *(
                _by_currency(from_published(name, campaign), decimals=2 if is_wide else 0)
                for name in ("spend", *(["revenue"] if is_wide else []))
            ),
        )
    return table


def _by_currency(sums: Mapping[str, float], decimals: int) -> str:
    return "\n".join(f"{amount:,.{decimals}f} {currency}".rstrip() for currency, amount in sums.items())


def _rows(metadata: dict[str, object]) -> str:
    rows = metadata.get("dagster/partition_row_count")
    return f"{rows:,}" if isinstance(rows, int) else ""


def _print_held(held: Sequence["HeldDate"]) -> None:
    if held:
        console.print(
            f"{len(held)} dates are held: their last load was refused, and they keep their rows.", style="red"
        )
        for date_held in held[:_HELD_SHOWN]:
            console.print(f"  {visible(date_held.evidence)}", highlight=False, markup=False, soft_wrap=True)
    if len(held) > _HELD_SHOWN:
        console.print(f"  ... and {len(held) - _HELD_SHOWN} more, in the table held_dates.")


def _print_unrecorded(days: list[date]) -> None:
    if days:
        console.print(
            f"Dagster's history in {os.environ['DAGSTER_HOME']} lacks {len(days)} dates that Postgres has. Check"
            " that DAGSTER_HOME is the directory that the syncs use. If the history was lost, see"
            " docs/recovery.md.",
            style="yellow",
            highlight=False,
        )


def _print_last_run(instance: "DagsterInstance") -> None:
    from engarde_pipeline.runs.sync_runs import is_dry_run

    records = instance.get_run_records(limit=1)
    if not records:
        console.print("There has been no run yet. Start one with `engarde sync` or in the Dagster UI.")
        return
    run = records[0].dagster_run
    job = f"{run.job_name}, a dry run" if is_dry_run(run) else run.job_name
    console.print(
        f"The last run, {run.run_id} ({job}), was created {records[0].create_timestamp:%Y-%m-%d %H:%M} UTC:"
        f" {run.status.value.lower()}.",
        highlight=False,
    )


def _print_bytes(settings: "DatabaseSettings") -> None:
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.reads.usage import bytes_by_day

    with connect(settings.database_url.get_secret_value()) as connection:
        read = bytes_by_day(connection, _DAYS_OF_BYTES)
    budget = settings.engarde_daily_bytes
    days = ", ".join(f"{day:%m-%d} {size:,}" for day, size in read.items()) or "none"
    console.print(f"Bytes read from BigQuery per day (daily budget: {budget:,}): {days}.", highlight=False)
