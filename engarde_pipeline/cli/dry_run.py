"""Prints what a dry run would cost and change (rule 16)."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from dagster import AssetObservation, TableMetadataValue
from rich import box
from rich.table import Table
from rich.text import Text

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.cli.terminal import console, visible
from engarde_pipeline.core.currencies import from_published
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.scope import EVERYTHING, resolve_scope
from engarde_pipeline.runs.history import HELD, LARGEST_CHANGES, counts_of_event, entries_of, would_not_land
from engarde_pipeline.runs.in_process import FinishedRun
from engarde_pipeline.settings import Settings
from engarde_pipeline.sync.estimates import estimate_sync

_COUNTS = ("inserted", "updated", "unchanged", "deleted", "rejected")
_AMOUNTS = ("spend", "revenue")


def print_estimate(
    settings: Settings,
    dates: Sequence[date],
    tenant: str | None,
    platforms: Sequence[str],
    campaigns: Sequence[str],
) -> None:
    """Print the bytes that BigQuery would bill for a sync, before anything is read.

    Raises:
        SourceError: BigQuery cannot be read.
        UnknownSlice: there is no such tenant, platform or campaign.
    """
    scope = EVERYTHING
    if tenant or platforms or campaigns:
        with connect(settings.database_url.get_secret_value()) as connection:
            scope = resolve_scope(connection, tenant, platforms, campaigns)
    console.print("This is a dry run: nothing is written.", style="bold")
    for estimate in estimate_sync(Source(settings), dates, scope):
        size = "an unknown number of" if estimate.bytes_billed is None else f"{estimate.bytes_billed:,}"
        reason = ", because it does not report them" if estimate.bytes_billed is None else ""
        console.print(
            f"BigQuery would bill {size} bytes for {estimate.table.source} ({estimate.method}){reason}.",
            highlight=False,
            soft_wrap=True,
        )


def print_dry_run(run: FinishedRun) -> bool:
    """Print what a sync would change, date by date; return whether all dates would land."""
    observations = [entry.asset_observation for entry in run.landed if entry.asset_observation]
    for table in METRIC_TABLES:
        of_table = [found for found in observations if found.asset_key.to_user_string() == table.target]
        of_table.sort(key=lambda found: found.partition or "")
        if of_table:
            console.print(_dates_table(table.target, of_table))
        for found in of_table:
            if reason := would_not_land(found):
                becomes = "would be held" if HELD in entries_of(found) else "would fail"
                console.print(f"{found.partition} {becomes}: {visible(reason)}", style="red", markup=False)
            elif changes := _records(found, LARGEST_CHANGES):
                console.print(_changes_table(f"{table.target} {found.partition}: largest changes", changes))
            _print_rejected(found)
    return not any(map(would_not_land, observations))


def _dates_table(title: str, observations: Sequence[AssetObservation]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("date", no_wrap=True)
    for name in _COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for name in _AMOUNTS:
        table.add_column(f"{name} before\nand after", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for found in observations:
        if would_not_land(found):
            table.add_row(found.partition, "[red]held[/]" if HELD in entries_of(found) else "[red]fails[/]")
            continue
        counts = counts_of_event(found)
        of_date = [found.partition, *(f"{getattr(counts, name):,}" for name in _COUNTS)]
        for currency, amounts in _amounts(found).items():
            table.add_row(*of_date, *amounts, currency)
            of_date = [""] * len(of_date)
    return table


def _amounts(observation: AssetObservation) -> dict[str, list[str]]:
    """Return each amount before and after, by currency."""
    values = {name: value.value for name, value in entries_of(observation).items()}
    sums = [(from_published(f"{name}_before", values), from_published(name, values)) for name in _AMOUNTS]
    currencies = sorted({currency for pair in sums for amounts in pair for currency in amounts})
    # Without rows before or after, there is a sum of 0 without a currency.
    if any(currencies) and not any(amounts.get("") for pair in sums for amounts in pair):
        currencies.remove("")
    return {
        currency: [f"{before.get(currency, 0):,.2f}\n{after.get(currency, 0):,.2f}" for before, after in sums]
        for currency in currencies
    }


def _changes_table(title: str, changes: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("campaign", overflow="fold")
    table.add_column("platform", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in _AMOUNTS:
        table.add_column(f"{name} before", justify="right", no_wrap=True)
        table.add_column("after", justify="right", no_wrap=True)
    for change in changes:
        amounts = [f"{float(change[f'{name}_{when}']):,.2f}" for name in _AMOUNTS for when in ("before", "after")]
        table.add_row(
            Text(visible(change["campaign"])), Text(visible(change["platform"])), change["currency"], *amounts
        )
    return table


def _print_rejected(observation: AssetObservation) -> None:
    for record in _records(observation, "rejected_records"):
        text = f"{observation.partition} rejected: {record['reason']} ({record['record']})"
        console.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def _records(observation: AssetObservation, name: str) -> list[dict[str, Any]]:
    found = entries_of(observation).get(name)
    return [dict(record.data) for record in found.records] if isinstance(found, TableMetadataValue) else []
