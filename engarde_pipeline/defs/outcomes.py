"""How the dates of a run are reported that did not land, that belong to a slice, or that a dry run has done."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from dagster import AssetKey, AssetObservation, Failure, OpExecutionContext

from engarde_pipeline.core.date_states import is_provisional
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.defs.metadata import sync_metadata
from engarde_pipeline.postgres.faults import message_of
from engarde_pipeline.postgres.load.held_dates import DateHeld
from engarde_pipeline.runs.attempts import CAUSE, HELD_DATES, SUMMARY, first_sentence
from engarde_pipeline.runs.history import DID_NOT_LAND, HELD, SLICE, WOULD_NOT_LAND, named_for
from engarde_pipeline.runs.run_config import DRY_RUN
from engarde_pipeline.runs.tags import NO_RETRIES
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline.sync.faults import is_transient


def failed_observation(
    table: MetricTable, outcome: FailedDate, slice_of_date: str | None = None
) -> AssetObservation:
    """Return the observation of a date that did not land: the page of the date shows the reason and what to do."""
    reason = message_of(outcome.error)
    metadata = {DID_NOT_LAND: reason, **_held(outcome.error)}
    if slice_of_date:
        return slice_observation(table, outcome.day, slice_of_date, f"did not land: {reason}", metadata)
    return AssetObservation(
        asset_key=AssetKey(table.target),
        partition=outcome.day.isoformat(),
        description=f"The date did not land: {reason}",
        metadata=metadata,
    )


def slice_observation(
    table: MetricTable, day: date, slice_of_date: str, became: str, metadata: Mapping[str, Any]
) -> AssetObservation:
    """Return the observation of a slice of a date, whose entries replace none of the date on its page (rule 8)."""
    return AssetObservation(
        asset_key=AssetKey(table.target),
        partition=day.isoformat(),
        description=f"A slice of the date ({slice_of_date}): {became}",
        metadata={SLICE: slice_of_date, **named_for(SLICE, metadata)},
    )


def dry_run_observation(
    table: MetricTable, outcome: SyncedDate | FailedDate, slice_of_date: str | None = None
) -> AssetObservation:
    """Return the observation of a date in a dry run: its counts, or the reason why it would not land.

    Its entries replace none of the date on its page.
    """
    subject = f"Dry run of a slice of the date ({slice_of_date})" if slice_of_date else "Dry run"
    would_not_land: dict[str, Any] = {}
    if isinstance(outcome, FailedDate):
        reason = message_of(outcome.error)
        becomes = f"The date would not land: {reason}"
        would_not_land = {WOULD_NOT_LAND: reason}
        metadata: dict[str, Any] = _held(outcome.error)
    else:
        becomes = f"It would be: {outcome.merged.counts.sentence}."
        metadata = sync_metadata(outcome, is_provisional(outcome.day))
    if slice_of_date:
        metadata = {SLICE: slice_of_date, **metadata}
    return AssetObservation(
        asset_key=AssetKey(table.target),
        partition=outcome.day.isoformat(),
        description=f"{subject}, nothing was written. {becomes}",
        metadata={DRY_RUN: True, **would_not_land, **named_for(DRY_RUN, metadata)},
    )


def transient(failed: list[FailedDate]) -> list[FailedDate]:
    """Return the dates that failed because of a transient error, after which a dry run cannot say what happens."""
    return [outcome for outcome in failed if is_transient(outcome.error)]


def failure(failed: list[FailedDate], asked: int, dry_run: bool) -> Failure:
    """Return a `Failure` that lists the dates which did not land and why; `asked` is the number of all dates.

    The run is retried only if one of the errors is transient.
    """
    if not any(is_transient(outcome.error) for outcome in failed):
        disable_retries()
    failed = sorted(failed, key=lambda outcome: outcome.day)
    days = sorted({outcome.day for outcome in failed})
    reasons = [_reason(outcome) for outcome in failed]
    summary = first_sentence(reasons[0])
    if asked == 1:
        what = f"The date {days[0]} did not land."
    elif len(days) == asked:
        what = f"None of the {asked} dates landed."
        summary = f"{summary} {what}"
    else:
        counted = f"{len(days)} of {asked} dates did not land"
        what = f"{counted}: {', '.join(map(str, days))}."
        summary = f"{summary} {counted}."
        if not dry_run:
            what = f"{what} The others are synced."
    if dry_run:
        what = f"{what} Nothing was written, because this is a dry run."
    cause = {CAUSE: HELD_DATES} if all(isinstance(outcome.error, DateHeld) for outcome in failed) else {}
    return Failure(
        description="\n* ".join([what, *reasons]), metadata={SUMMARY: summary, **cause}, allow_retries=False
    )


def disable_retries() -> None:
    """Have no retry created for the run of the current op."""
    context = OpExecutionContext.get()
    context.instance.add_run_tags(context.run.run_id, NO_RETRIES)


def _held(error: Exception) -> dict[str, str]:
    return {HELD: error.reason} if isinstance(error, DateHeld) else {}


def _reason(outcome: FailedDate) -> str:
    message = message_of(outcome.error)
    return message if str(outcome.day) in message else f"{outcome.day}: {message}"
