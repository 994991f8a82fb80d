"""`engarde status`: which dates are synced, how the last run ended, what is not loaded."""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import console

if TYPE_CHECKING:
    from dagster import DagsterInstance, EventLogRecord


def status(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many dates to show, up to today.")] = 30,
) -> None:
    """Show which dates are synced, when, with how many rows and rejected records, and how the last run ended.

    A date younger than 30 days is provisional: ad platforms still restate it.
    """
    from dagster import AssetKey

    from engarde_pipeline.assets.history import latest_materializations
    from engarde_pipeline.metrics import ASSET_METRICS, CAMPAIGN_METRICS
    from engarde_pipeline.partitions import today
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.rejected import open_reasons

    last = today()
    dates = [last - timedelta(days=n) for n in range(days)]
    with servers() as settings, dagster_instance() as instance:
        campaigns = latest_materializations(instance, AssetKey(CAMPAIGN_METRICS.target), dates)
        assets = latest_materializations(instance, AssetKey(ASSET_METRICS.target), dates)
        console.print(_dates_table(dates, campaigns, assets))
        missing = len([day for day in dates if day not in campaigns])
        console.print(f"{days - missing} of {days} dates are synced, {missing} are missing.")
        _print_last_run(instance)
        with connect(settings.database_url.get_secret_value()) as connection:
            for found in open_reasons(connection, dates[-1], last):
                console.print(
                    f"Not loaded: {found.records} records of {found.table_name}, {found.reason_code}"
                    f" ({found.first_date} .. {found.last_date}). {found.reason}",
                    markup=False,
                )


def _dates_table(
    dates: list[date], campaigns: dict[date, "EventLogRecord"], assets: dict[date, "EventLogRecord"]
) -> Table:
    from engarde_pipeline.assets.history import metadata_of
    from engarde_pipeline.assets.landing import is_provisional

    table = Table(title="Dates", title_justify="left")
    for column in ("date", "state", "synced at (UTC)"):
        table.add_column(column)
    for column in ("campaign rows", "asset rows", "rejected", "spend", "revenue"):
        table.add_column(column, justify="right")
    for day in dates:
        if day not in campaigns:
            table.add_row(str(day), "[yellow]missing[/]")
            continue
        campaign = metadata_of(campaigns[day])
        asset = metadata_of(assets[day]) if day in assets else {}
        rejected = sum(int(str(found.get("records_rejected", 0))) for found in (campaign, asset))
        table.add_row(
            str(day),
            "[cyan]provisional[/]" if is_provisional(day) else "[green]synced[/]",
            f"{datetime.fromtimestamp(campaigns[day].timestamp, UTC):%Y-%m-%d %H:%M}",
            str(campaign.get("dagster/partition_row_count", "")),
            str(asset.get("dagster/partition_row_count", "")),
            str(rejected or ""),
            f"{campaign.get('spend', 0):,.2f}",
            f"{campaign.get('revenue', 0):,.2f}",
        )
    return table


def _print_last_run(instance: "DagsterInstance") -> None:
    records = instance.get_run_records(limit=1)
    if not records:
        console.print("There has been no run yet; start one with `engarde sync` or in the Dagster UI.")
        return
    run = records[0].dagster_run
    console.print(
        f"The last run, {run.run_id} ({run.job_name}), was created {records[0].create_timestamp:%Y-%m-%d %H:%M}"
        f" UTC: {run.status.value.lower()}.",
        highlight=False,
    )
