"""`engarde jobs`: shows the job log."""

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from engarde_pipeline.cli.servers import dagster_instance, embedded_default
from engarde_pipeline.cli.terminal import console, visible

if TYPE_CHECKING:
    from engarde_pipeline.runs.job_log import SyncJob

_POLL_SECONDS = 2
_STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "pending": "dim",
}


def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest jobs to show.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep running, and show a job again when it changes. Ctrl-C stops.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, for scripts.")] = False,
) -> None:
    """Show the newest sync jobs: what started them, how many records they synced, and why one failed.

    The newest is last. A job is a Dagster run together with its retries.

    Example: `engarde jobs --follow --json`
    """
    from engarde_pipeline.runs.job_log import list_jobs

    with embedded_default(), dagster_instance() as instance:
        shown = list_jobs(instance, limit)[::-1]
        _print(shown, as_json)
        while follow:
            time.sleep(_POLL_SECONDS)
            now = list_jobs(instance, limit)[::-1]
            _print([job for job in now if job not in shown], as_json, is_first=False)
            shown = now


def _print(found: "list[SyncJob]", as_json: bool, is_first: bool = True) -> None:
    if as_json:
        for job in found:
            print(json.dumps(asdict(job), default=lambda moment: moment.isoformat()), flush=True)  # noqa: T201  unformatted, for scripts
    elif found:
        console.print(_table(found, is_first))
        for job in found:
            if job.error_message and not job.is_cancelled:
                console.print(Text(f"{job.id[:8]}: {visible(job.error_message)}", "red"))
    elif is_first:
        console.print("There has been no sync yet. Start one with `engarde sync` or in the Dagster UI.")


def _table(found: "list[SyncJob]", is_first: bool) -> Table:
    from engarde_pipeline.core.dates import date_range

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_header=is_first)
    for column in ("started (UTC)", "job", "status", "dates", "by"):
        table.add_column(column, no_wrap=column != "dates")
    table.add_column("records", justify="right", no_wrap=True)
    table.add_column("rejected", justify="right", no_wrap=True)
    for job in found:
        status = "cancelled" if job.is_cancelled else job.status
        table.add_row(
            f"{job.started_at or job.created_at:%m-%d %H:%M:%S}",
            job.id[:8],
            Text(status, _STYLES[status]),
            date_range(job.start_date, job.end_date) if job.start_date and job.end_date else "",
            f"{job.triggered_by}, dry run" if job.is_dry_run else job.triggered_by,
            f"{job.records_processed:,}",
            f"{job.records_failed or ''}",
        )
    return table
