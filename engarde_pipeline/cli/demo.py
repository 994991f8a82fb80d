"""`engarde demo`: runs the sync job on local sample data."""

from datetime import timedelta
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from engarde_pipeline.cli.servers import dagster_instance, sample_servers
from engarde_pipeline.cli.terminal import console

if TYPE_CHECKING:
    import psycopg

DATES = 30
RESTATED = (5, 4, 3)
"""The dates that are restated after the first sync, in days before today."""


def demo() -> None:
    """Sync 30 dates of sample data from a local BigQuery emulator into a local Postgres, through Dagster.

    The data is kept under .engarde/: a second run finds nothing to change, and `engarde dev` shows the run in the
    Dagster UI. To start over, delete .engarde/.
    """
    from engarde_pipeline.bigquery.client import create_client, source_errors
    from engarde_pipeline.cli.report import changed_records, print_counts, print_end, print_rejected
    from engarde_pipeline.cli.runs import run_job
    from engarde_pipeline.core.dates import today
    from engarde_pipeline.local.sample_data import restate
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.runs.run_config import range_run

    dates = [today() - timedelta(days=n) for n in reversed(range(DATES))]
    with sample_servers() as (settings, loaded), dagster_instance() as instance:
        console.rule(f"Syncing {dates[0]} .. {dates[-1]}")
        run = run_job(instance, range_run(dates[0], dates[-1]), 2 * len(dates))
        print_counts(run)
        if run.succeeded and not changed_records(run):
            console.print("[bold green]Nothing changed:[/] Postgres already has the same data as BigQuery.")
        elif run.succeeded and set(dates) <= set(loaded):
            restated = [today() - timedelta(days=n) for n in RESTATED]
            console.rule("The ad platforms restate three dates, which are synced again")
            with source_errors("the sample data"):
                restate(create_client(settings), settings.bigquery_dataset_id, restated)
            run = run_job(instance, range_run(restated[0], restated[-1]), 2 * len(restated))
            print_counts(run)
        console.rule("The result")
        if run.succeeded:
            with connect(settings.database_url.get_secret_value()) as connection:
                console.print(_highest_spend(connection))
            print_rejected(settings, dates)
        print_end(run)
    if not run.succeeded:
        console.print("The log of the run is in Dagster's history: `engarde dev` shows it.")
        raise typer.Exit(1)
    console.print(
        "\nNext: [bold]engarde dev[/] (in a checkout: [bold]make dev[/]) shows this data in a browser. It prints a"
        " link to the pages with the campaigns (http://127.0.0.1:8000), and starts the Dagster UI (lineage,"
        " dates, counts, plots). [bold]engarde status[/] ([bold].venv/bin/engarde status[/]) shows the dates here."
        " README.md describes the setup for a real project."
    )


def _highest_spend(connection: "psycopg.Connection") -> Table:
    rows = connection.execute(
        """
        SELECT t.name, c.name, c.platform, c.currency, c.total_spend, c.total_revenue, c.avg_roas, c.avg_ctr
        FROM (
            SELECT *, row_number() OVER (PARTITION BY currency ORDER BY total_spend DESC) AS place
            FROM campaign_spaces
            JOIN (SELECT campaign_space_id AS id, min(currency) AS currency FROM campaign_metrics GROUP BY 1) m
                USING (id)
            WHERE total_spend IS NOT NULL
        ) c
        JOIN tenants t ON t.id = c.tenant_id
        WHERE c.place <= 3
        ORDER BY c.currency, c.place
        """
    ).fetchall()
    table = Table(
        title="The campaigns with the highest spend, in each currency",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for column in ("tenant", "campaign"):
        table.add_column(column)
    for column in ("platform", "currency"):
        table.add_column(column, no_wrap=True)
    for column in ("spend", "revenue", "ROAS", "CTR %"):
        table.add_column(column, justify="right", no_wrap=True)
    for *texts, spend, revenue, roas, ctr in rows:
        table.add_row(*texts, f"{spend:,.2f}", f"{revenue:,.2f}", _rounded(roas), _rounded(ctr))
    return table


def _rounded(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
