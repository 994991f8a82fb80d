"""The run tags of the pipeline.

They contain what the job log shows, so that it needs no events: a list of jobs is one query, however many dates
each job synced. The run list of the Dagster UI shows all tags but those with Dagster's own prefixes.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date

from dagster import DagsterInstance, DagsterRun

from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.dates import date_range
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.dagster_internals import HIDDEN_TAG_PREFIX, MAX_RETRIES_TAG

TENANT = "engarde/tenant"
"""The tenant of a slice: its uuid, or ALL_TENANTS."""

ALL_TENANTS = "all"

TRIGGER = "engarde/triggered_by"
"""What started a run, if no tag of Dagster says so: `api`."""

USER = "engarde/user"
"""The id of the user who requested a run."""

REQUEST_ID = "engarde/request_id"
"""The id of the API request that started a run; it is in the log lines of both."""

JOB_TYPE = "engarde/job_type"
"""The job type of a run, if it does not follow from its assets: `incremental_sync`."""

DATES = "engarde/dates"
"""The first and last date of a sync, for the run list of the Dagster UI, such as `2026-11-01 .. 2026-11-07`."""

NO_DATES = {DATES: "none"}
"""On a run that only updates totals, such as the one that each backfill starts; it is not a sync job."""

NO_RETRIES = {MAX_RETRIES_TAG: "0"}
"""On a run that is not to be retried; `allow_retries=False` affects only the retries of an op."""

REASON = "engarde/reason"
"""Why the dates of a run were due."""

MANUAL = "started manually"
"""The reason of a run that the plan did not start."""

_COUNTS = f"{HIDDEN_TAG_PREFIX}engarde_counts."
_COUNTS_BEFORE = "engarde/counts."
"""Runs of version 0.1.0 have their counts in these tags."""

_NOT_LANDING = f"{HIDDEN_TAG_PREFIX}engarde_would_not_land."


def dates_tag(start: date, end: date) -> dict[str, str]:
    """Return the tag with the dates of a sync."""
    return {DATES: date_range(start, end)}


def record_dates(instance: DagsterInstance, run: DagsterRun, start: date, end: date) -> None:
    """Tag a run with its dates, unless it has been created with the tag, as backfills are not."""
    tag = dates_tag(start, end)
    if not tag.items() <= run.tags.items():
        instance.add_run_tags(run.run_id, tag)


def record_counts(instance: DagsterInstance, run_id: str, table: MetricTable, counts: Counts) -> None:
    """Tag a run with the counts of a table that it has finished."""
    # A retry copies the tags of the earlier run; the run id says to which run the counts belong.
    text = json.dumps({"run_id": run_id, **counts.published})
    instance.add_run_tags(run_id, {_COUNTS + table.target: text})


def recorded_counts(run_id: str, tags: Mapping[str, str]) -> dict[str, Counts]:
    """Return the counts by asset that this run recorded, and not an earlier attempt."""
    by_asset: dict[str, Counts] = {}
    for prefix in (_COUNTS_BEFORE, _COUNTS):
        values = {
            key.removeprefix(prefix): json.loads(text) for key, text in tags.items() if key.startswith(prefix)
        }
        by_asset |= {
            asset: Counts.from_published(found) for asset, found in values.items() if found["run_id"] == run_id
        }
    return by_asset


def record_not_landing(instance: DagsterInstance, run_id: str, table: MetricTable, dates: Iterable[date]) -> None:
    """Tag a dry run with the dates of a table that a sync would not land."""
    instance.add_run_tags(run_id, {_NOT_LANDING + table.target: " ".join(map(str, sorted(dates)))})


def recorded_not_landing(tags: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the dates by asset that a dry run recorded as not landing."""
    return {
        key.removeprefix(_NOT_LANDING): dates.split()
        for key, dates in sorted(tags.items())
        if key.startswith(_NOT_LANDING) and dates
    }
