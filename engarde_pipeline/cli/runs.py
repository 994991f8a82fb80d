"""Runs a Dagster job in this process and shows its progress date by date."""

from dagster import DagsterInstance, DagsterRunStatus, EventLogEntry
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from engarde_pipeline.cli.dagster_files import CODE_LOCATION
from engarde_pipeline.cli.terminal import console, handle_interrupts
from engarde_pipeline.runs.in_process import FinishedRun, label_of, run_in_process
from engarde_pipeline.runs.run_config import RunSpec


def run_job(instance: DagsterInstance, spec: RunSpec, expected_dates: int) -> FinishedRun:
    """Run a job in this process and show its progress; Ctrl-C and SIGTERM cancel it, see `run_in_process`."""
    handle_interrupts()
    with _progress() as progress:
        bar = progress.add_task("loading the pipeline", total=expected_dates)
        from engarde_pipeline.definitions import defs

        def show(event: EventLogEntry) -> None:
            progress.update(bar, advance=1, description=label_of(event))

        run = run_in_process(instance, CODE_LOCATION, defs.resolve_job_def(spec.job), spec, show)
        # A slice, or a source without asset metrics, lands fewer dates than expected.
        total = len(run.landed) if run.status is DagsterRunStatus.SUCCESS else expected_dates
        progress.update(bar, description=run.status.value.lower(), total=total)
    return run


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loads"),  # one for each date and table
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
