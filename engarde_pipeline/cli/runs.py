"""Running a job through Dagster, with its progress on the terminal date by date."""

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

from engarde_pipeline.cli.terminal import console, hear_interrupts
from engarde_pipeline.dagster_internals import was_interrupted
from engarde_pipeline.runs.attempts import LANDED, failure_reasons
from engarde_pipeline.runs.run_config import RunSpec
from engarde_pipeline.runs.tags import NO_RETRIES

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended: the dates that landed, and why others did not."""

    run_id: str
    status: DagsterRunStatus
    landed: tuple[EventLogEntry, ...]
    reasons: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        return self.status is DagsterRunStatus.SUCCESS


def run_job(instance: DagsterInstance, wanted: RunSpec, expected_dates: int) -> FinishedRun:
    """Run a job in this process, recorded in `instance` like any other run, and show dates as they land.

    Ctrl-C and SIGTERM cancel it: what has landed stays, and no date is there in part.
    """
    run_id = str(uuid4())
    hear_interrupts()
    with ThreadPoolExecutor(max_workers=1) as executor, _progress() as progress:
        bar = progress.add_task("loading the pipeline", total=expected_dates)
        ended = Event()
        watching = executor.submit(_watch, instance, run_id, ended, progress, bar)
        try:
            # On the main thread, the only one that Dagster can interrupt.
            _execute(instance, wanted, run_id)
        finally:
            ended.set()
        landed = watching.result()
        status = _end(instance, run_id)
        # A slice, or a source without asset metrics, has fewer dates to land than were expected.
        total = len(landed) if status is DagsterRunStatus.SUCCESS else expected_dates
        progress.update(bar, description=status.value.lower(), total=total)
    reasons = failure_reasons(instance, run_id) if status is DagsterRunStatus.FAILURE else ()
    return FinishedRun(run_id, status, tuple(landed), tuple(reasons))


def _execute(instance: DagsterInstance, wanted: RunSpec, run_id: str) -> None:
    from engarde_pipeline.definitions import defs

    # What a person needs is on the progress bar and in the report; the log stays in the run's history.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    defs.resolve_job_def(wanted.job).execute_in_process(
        instance=instance,
        run_id=run_id,
        # Nobody can start it again but the person at the terminal: Dagster's daemon knows no code for it.
        tags={**NO_RETRIES, **wanted.tags},
        run_config={**wanted.run_config, **quiet},
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
        is_last_look = ended.is_set()
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=LANDED)
        cursor = page.cursor
        for record in page.records:
            if record.partition_key:
                yield record.event_log_entry
        if is_last_look and not page.has_more:
            return
        ended.wait(_POLL_SECONDS)


def _end(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    """Return how the run ended; one that was interrupted is canceled, where Dagster says that it failed."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return DagsterRunStatus.NOT_STARTED
    if run.status is DagsterRunStatus.FAILURE and was_interrupted(instance, run_id):
        instance.report_run_canceled(run, "Interrupted from its terminal. The dates that landed stay.")
        return DagsterRunStatus.CANCELED
    return run.status


def _label(event: EventLogEntry) -> str:
    asset = event.asset_materialization or event.asset_observation
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
