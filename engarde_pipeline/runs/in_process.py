"""Runs a job in this process, recorded in the Dagster instance like a run that the daemon starts."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from uuid import uuid4

from dagster import DagsterInstance, DagsterRunStatus, EventLogEntry, JobDefinition

from engarde_pipeline.dagster_internals import execute_in_location, was_interrupted
from engarde_pipeline.local.watch import ended_server
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


def run_in_process(
    instance: DagsterInstance,
    location: str,
    job: JobDefinition,
    spec: RunSpec,
    on_landed: Callable[[EventLogEntry], None],
) -> FinishedRun:
    """Run a job of the code location `location` as `spec` says.

    `on_landed` is called in another thread for each date when it lands. On the main thread, an interrupt cancels
    the run. Dates that have landed stay, and no date is written in part.
    """
    run_id = str(uuid4())
    with ThreadPoolExecutor(max_workers=1) as executor:
        ended = Event()
        watching = executor.submit(_watch, instance, run_id, ended, on_landed)
        try:
            _execute(instance, location, job, spec, run_id)
        finally:
            ended.set()
        landed = watching.result()
    status = _end(instance, run_id)
    # After the end of a server, the reasons are its consequences.
    has_reasons = status is DagsterRunStatus.FAILURE and not ended_server()
    reasons = failure_reasons(instance, run_id) if has_reasons else ()
    return FinishedRun(run_id, status, tuple(landed), tuple(reasons))


def label_of(event: EventLogEntry) -> str:
    """Return the asset and the date of an event, for a progress bar."""
    found = event_of_date(event)
    return f"{found.asset_key.to_user_string()} {found.partition}" if found else ""


def _execute(instance: DagsterInstance, location: str, job: JobDefinition, spec: RunSpec, run_id: str) -> None:
    # The progress bar and the report show what matters; the full log is in the run's history.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    execute_in_location(
        instance,
        job,
        location,
        run_id=run_id,
        # Its caller sees that it failed, and may be gone when Dagster's daemon would retry it.
        tags={**NO_RETRIES, **spec.tags},
        run_config={**spec.run_config, **quiet},
    )


def _watch(
    instance: DagsterInstance, run_id: str, ended: Event, on_landed: Callable[[EventLogEntry], None]
) -> list[EventLogEntry]:
    landed = []
    for event in _landed_events(instance, run_id, ended):
        landed.append(event)
        on_landed(event)
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
    """Return how the run ended.

    An interrupted run, which Dagster records as failed, is marked as canceled, unless the interrupt was due to a
    server that has ended.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        return DagsterRunStatus.NOT_STARTED
    if run.status is DagsterRunStatus.FAILURE and was_interrupted(instance, run_id):
        if error := ended_server():
            instance.report_engine_event(str(error), run)
            return run.status
        instance.report_run_canceled(run, "Interrupted by the user. The dates that were committed stay.")
        return DagsterRunStatus.CANCELED
    return run.status
