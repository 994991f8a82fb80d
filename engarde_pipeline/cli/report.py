"""What a sync did, as tables."""

from collections.abc import Sequence
from datetime import date

from rich.table import Table

from engarde_pipeline.assets.history import COUNTS
from engarde_pipeline.cli.runs import FinishedRun
from engarde_pipeline.cli.terminal import console
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.rejected import open_reasons
from engarde_pipeline.settings import Settings


def print_sync(run: FinishedRun, settings: Settings, dates: Sequence[date]) -> None:
    """Print a finished run's counts per asset, what is rejected on its dates, and what failed."""
    console.print(counts_table(run))
    with connect(settings.database_url.get_secret_value()) as connection:
        reasons = open_reasons(connection, dates[0], dates[-1])
    if reasons:
        table = Table(title="Not loaded: kept in rejected_metric_rows", title_justify="left")
        for column in ("table", "reason", "records", "dates", "what to do"):
            table.add_column(column, justify="right" if column == "records" else "left")
        for found in reasons:
            days = f"{found.first_date} .. {found.last_date}"
            table.add_row(found.table_name, found.reason_code, str(found.records), days, found.reason)
        console.print(table)
    for reason in run.reasons:
        console.print(reason, style="red", markup=False)
    console.print(f"Dagster run {run.run_id}: {'succeeded' if run.succeeded else 'failed'}.")


def counts_table(run: FinishedRun) -> Table:
    """Return the counts of each asset over all dates that landed."""
    table = Table(title="Records", title_justify="left")
    table.add_column("asset")
    table.add_column("dates", justify="right")
    for name in COUNTS:
        table.add_column(name.removeprefix("records_"), justify="right")
    for asset, (days, counts) in _totals(run).items():
        table.add_row(asset, str(days), *(f"{counts[name]:,}" for name in COUNTS))
    return table


def changed_records(run: FinishedRun) -> int:
    """Return how many rows the run inserted, updated or deleted."""
    changing = ("records_inserted", "records_updated", "records_deleted")
    return sum(counts[name] for _, counts in _totals(run).values() for name in changing)


def _totals(run: FinishedRun) -> dict[str, tuple[int, dict[str, int]]]:
    totals: dict[str, tuple[int, dict[str, int]]] = {}
    for entry in run.landed:
        event = entry.asset_materialization or entry.asset_observation
        if event is None:
            continue
        asset = event.asset_key.to_user_string()
        days, counts = totals.get(asset, (0, dict.fromkeys(COUNTS, 0)))
        for name in COUNTS:
            counts[name] += int(str(event.metadata[name].value))
        totals[asset] = (days + 1, counts)
    return totals
