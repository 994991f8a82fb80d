"""Runs a Dagster job in this process and shows its progress date by date."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from uuid import uuid4

from dagster import DagsterInstance, DagsterRunStatus, EventLogEntry
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from engarde_pipeline.cli.terminal import console, handle_interrupts
from engarde_pipeline.dagster_internals import was_interrupted
from engarde_pipeline.runs.attempts import LANDED, failure_reasons
from engarde_pipeline.runs.history import event_of_date
from engarde_pipeline.runs.run_config import RunSpec
from engarde_pipeline.runs.tags import NO_RETRIES

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended, with the events of the landed dates and the reasons why others failed."""

    run_id: str
    status: DagsterRunStatus
    landed: tuple[EventLogEntry, ...]
    reasons: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        return self.status is DagsterRunStatus.SUCCESS


def run_job(instance: DagsterInstance, spec: RunSpec, expected_dates: int) -> FinishedRun:
    """Run a job in this process, recorded in `instance` like any other run, and show its progress.

    Ctrl-C and SIGTERM cancel the run. Dates that have landed stay, and no date is written in part.
    """
    run_id = str(uuid4())
    handle_interrupts()
    with ThreadPoolExecutor(max_workers=1) as executor, _progress() as progress:
        bar = progress.add_task("loading the pipeline", total=expected_dates)
        ended = Event()
        watching = executor.submit(_watch, instance, run_id, ended, progress, bar)
        try:
            # On the main thread, because Dagster can interrupt no other.
            _execute(instance, spec, run_id)
        finally:
            ended.set()
        landed = watching.result()
        status = _end(instance, run_id)
        # A slice, or a source without asset metrics, lands fewer dates than expected.
        total = len(landed) if status is DagsterRunStatus.SUCCESS else expected_dates
        progress.update(bar, description=status.value.lower(), total=total)
    reasons = failure_reasons(instance, run_id) if status is DagsterRunStatus.FAILURE else ()
    return FinishedRun(run_id, status, tuple(landed), tuple(reasons))


def _execute(instance: DagsterInstance, spec: RunSpec, run_id: str) -> None:
    from engarde_pipeline.definitions import defs

    # The progress bar and the report show what matters; the full log is in the run's history.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    defs.resolve_job_def(spec.job).execute_in_process(
        instance=instance,
        run_id=run_id,
        # Dagster's daemon cannot retry it, because the run has no code location.
        tags={**NO_RETRIES, **spec.tags},
        run_config={**spec.run_config, **quiet},
        raise_on_error=False,
    )


def _watch(
    instance: DagsterInstance, run_id: str, ended: Event, progress: Progress, bar: TaskID
) -> list[EventLogEntry]:
    landed = []
    for event in _landed_events(instance, run_id, ended):
        landed.append(event)
        progress.update(bar, advance=1, description=_label(event))
    return landed


def _landed_events(instance: DagsterInstance, run_id: str, ended: Event) -> Iterator[EventLogEntry]:
    cursor = None
    while True:
        is_last_page = ended.is_set()
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=LANDED)
        cursor = page.cursor
        for record in page.records:
            if record.partition_key and event_of_date(record.event_log_entry):
                yield record.event_log_entry
        if is_last_page and not page.has_more:
            return
        ended.wait(_POLL_SECONDS)


def _end(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    """Return how the run ended. An interrupted run, which Dagster records as failed, is marked as canceled."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return DagsterRunStatus.NOT_STARTED
    if run.status is DagsterRunStatus.FAILURE and was_interrupted(instance, run_id):
        instance.report_run_canceled(run, "Interrupted in its terminal. The dates that were committed stay.")
        return DagsterRunStatus.CANCELED
    return run.status


def _label(event: EventLogEntry) -> str:
    asset = event_of_date(event)
    return f"{asset.asset_key.to_user_string()} {asset.partition}" if asset else ""


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("dates"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
