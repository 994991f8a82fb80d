"""The attempts of a sync job (a run and its retries): status, counts and failure reasons."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)

from engarde_pipeline.core.counts import Counts, total
from engarde_pipeline.core.dates import InvalidDates, dates_between
from engarde_pipeline.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_ID_TAG,
    WILL_RETRY_TAG,
    is_of_ended_backfill,
)
from engarde_pipeline.runs.history import counts_of_event, event_of_date
from engarde_pipeline.runs.sync_runs import SYNCED_ASSETS, UNFINISHED, dates_of, synced_assets
from engarde_pipeline.runs.tags import recorded_counts

LANDED = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION}
"""The event types of dates; `history.event_of_date` leaves out those that did not land."""

SUMMARY = "summary"
"""The metadata entry of a `Failure` with its first reason in a sentence.

The job log shows it instead of the first sentence of the description.
"""

_RUNNING = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)

RETRIED_WITHIN = timedelta(hours=1)
"""A failed run that the Dagster daemon has not retried within this time counts as failed.

The daemon is then down, or cannot load the run's code location.
"""

_TAGGED_WITHIN = timedelta(minutes=1)
"""Dagster tags a failed run with whether it retries it, a moment after the failure event."""

CAUSE = "cause"
"""The metadata entry of a `Failure` that is no fault of the pipeline: one of the following."""

INVALID_INPUT = "invalid input"
"""What somebody asked for does not exist or is not valid."""

HELD_DATES = "held dates"
"""The loads of all dates that failed look wrong; held dates are reported as such."""

_SENTENCE = re.compile(r".*?[.!?](?=\s|$)")


@dataclass(frozen=True)
class RunError:
    """Why a run failed: in a sentence, with everything that is known, and in which step, if it was in one."""

    summary: str
    details: str
    step: str | None = None


def attempts_of(instance: DagsterInstance, records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return all attempts of each run's job by run id, first attempt first; needs two queries in total."""
    if not records:
        return {}
    roots = {record.dagster_run.root_run_id or record.dagster_run.run_id for record in records}
    group = {
        record.storage_id: record
        for record in (
            *records,
            *instance.get_run_records(RunsFilter(run_ids=list(roots))),
            *instance.get_run_records(RunsFilter(tags={ROOT_RUN_ID_TAG: list(roots)})),
        )
    }
    attempts: dict[str, list[RunRecord]] = {}
    for _, record in sorted(group.items()):
        run = record.dagster_run
        earlier = attempts.get(run.parent_run_id or "", []) if is_retry(record) else []
        earlier.append(record)
        attempts[run.run_id] = earlier
    return attempts


def is_retry(record: RunRecord) -> bool:
    # A manual re-execution has no such tag and is a separate job.
    return RETRY_NUMBER_TAG in record.dagster_run.tags


def status_of(instance: DagsterInstance, record: RunRecord) -> str:
    last = record.dagster_run
    if last.status is DagsterRunStatus.SUCCESS:
        return "completed"
    if last.status in _RUNNING:
        return "running"
    if last.status in UNFINISHED:
        return "retrying" if RETRY_NUMBER_TAG in last.tags else "pending"
    return "retrying" if will_be_retried(instance, record) else "failed"


def will_be_retried(instance: DagsterInstance, record: RunRecord) -> bool:
    """Return whether the Dagster daemon is about to start another attempt of a failed run.

    Dagster tags every failed run that has retries left, including runs that its daemon does not retry: runs that
    were executed in a process of their own and have no origin, and runs of a backfill that has ended.
    """
    run = record.dagster_run
    if run.status is not DagsterRunStatus.FAILURE or not record.end_time or not instance.run_retries_enabled:
        return False
    if run.remote_job_origin is None or AUTO_RETRY_RUN_ID_TAG in run.tags:
        return False
    since = datetime.now(UTC) - utc(record.end_time)
    is_planned = run.tags[WILL_RETRY_TAG] == "true" if WILL_RETRY_TAG in run.tags else since < _TAGGED_WITHIN
    return is_planned and since < RETRIED_WITHIN and not is_of_ended_backfill(instance, run)


def counts_of_attempts(instance: DagsterInstance, attempts: Sequence[RunRecord]) -> Counts:
    by_asset: dict[str, Counts] = {}
    for record in attempts:
        run = record.dagster_run
        recorded = recorded_counts(run.run_id, run.tags)
        # Counts are recorded when an asset has ended, so a running or killed run may have none.
        if (
            len(recorded) < len(synced_assets(run))
            and run.status is not DagsterRunStatus.SUCCESS
            and record.start_time
        ):
            recorded = _counts_so_far(instance, run.run_id) | recorded
        by_asset |= recorded
    return total(by_asset.values())


def _counts_so_far(instance: DagsterInstance, run_id: str) -> dict[str, Counts]:
    by_asset: dict[str, Counts] = {}
    for record in instance.get_records_for_run(run_id, of_type=LANDED).records:
        event = event_of_date(record.event_log_entry)
        if event is None or event.asset_key not in SYNCED_ASSETS:
            continue
        asset = event.asset_key.to_user_string()
        by_asset[asset] = by_asset.get(asset, Counts()) + counts_of_event(event)
    return by_asset


def errors_of(instance: DagsterInstance, run: DagsterRun) -> list[RunError]:
    """Return why a run failed or ended: its failed steps, or else the event that ended it."""
    if run.status is DagsterRunStatus.CANCELED:
        return [RunError("The run was cancelled.", "The run was cancelled.")]
    if errors := _step_errors(instance, run.run_id):
        return errors
    ended = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_FAILURE).records
    messages = [record.event_log_entry.get_dagster_event().message or "The run failed." for record in ended[-1:]]
    return [RunError(first_sentence(message), message) for message in messages]


def reasons_of(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """Return the details of the errors of a run."""
    return [error.details for error in errors_of(instance, run)]


def reason_of_step(instance: DagsterInstance, run: DagsterRun, step: str) -> str:
    """Return why a failed run did not do a step: the error of the step, of another one, or of the run."""
    errors = errors_of(instance, run)
    of_step = [error.details for error in errors if error.step == step]
    return next(iter([*of_step, *(error.details for error in errors)]), "The run failed.")


def failure_reasons(instance: DagsterInstance, run_id: str) -> list[str]:
    """Return the error messages of a run's failed steps, without stack traces."""
    return [error.details for error in _step_errors(instance, run_id)]


def _step_errors(instance: DagsterInstance, run_id: str) -> list[RunError]:
    errors = []
    for record in instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records:
        event = record.event_log_entry.get_dagster_event()
        data = event.step_failure_data
        failure = data.user_failure_data
        error = data.error
        while error and error.cause:  # the outer errors only name the step
            error = error.cause
        details = (failure.description if failure else None) or (
            error.message.strip() if error else event.message or "unknown"
        )
        summary = failure.metadata.get(SUMMARY) if failure else None
        errors.append(
            RunError(str(summary.value) if summary else first_sentence(details), details, event.step_key)
        )
    return errors


def is_no_fault(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether a failed run says nothing about the pipeline, so that it does not count as a failed sync.

    Its dates are no partitions, or all of its failed steps failed because what was asked for does not exist, or
    because dates are held.
    """
    if run.status is not DagsterRunStatus.FAILURE:
        return False
    if _has_invalid_dates(run):  # Dagster creates such a run and cannot queue it
        return True
    failures = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    causes = [_cause_of(record.event_log_entry.get_dagster_event()) for record in failures]
    return bool(causes) and all(causes)


def _has_invalid_dates(run: DagsterRun) -> bool:
    start, end = dates_of(run)
    try:
        return bool(start and end and not dates_between(start, end))
    except InvalidDates:
        return True


def _cause_of(event: DagsterEvent) -> str | None:
    failure = event.step_failure_data.user_failure_data
    cause = failure.metadata.get(CAUSE) if failure else None
    return str(cause.value) if cause else None


def first_sentence(text: str) -> str:
    line, _, rest = text.strip().partition("\n")
    if line.endswith(":") and rest:  # the first of what it lists is a part of the reason
        line = f"{line} {rest.strip().splitlines()[0]}"
    found = _SENTENCE.match(line)
    return found.group() if found else line


def utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
