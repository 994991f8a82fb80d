"""What a run says about itself in its tags, so that the job log reads it with the run, without an event.

A list of fifty jobs is then one query, however many dates each of them synced.
"""

import json
from collections.abc import Mapping

from dagster import DagsterInstance

from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.dagster_internals import MAX_RETRIES_TAG

TENANT = "engarde/tenant"
"""Whose slice a run syncs: the tenant's uuid, or ALL_TENANTS."""

ALL_TENANTS = "all"

TRIGGER = "engarde/triggered_by"
"""Who started a run, where no tag of Dagster's says so: api."""

USER = "engarde/user"
"""The id of the user who asked for a run."""

JOB_TYPE = "engarde/job_type"
"""A run's job type, where it does not follow from its assets: incremental_sync."""

NO_DATES = {"engarde/dates": "none"}
"""On a run that syncs no date, only totals, as each backfill starts one: it is no sync job."""

NO_RETRIES = {MAX_RETRIES_TAG: "0"}
"""On a run that is not to be started again: `allow_retries=False` binds only an op's own retries."""

REASON = "engarde/reason"
"""Why a run's dates were due."""

FORCED = "forced: somebody asked for it"
"""The reason where no plan did."""

_COUNTS = "engarde/counts."


def record_counts(instance: DagsterInstance, run_id: str, table: MetricTable, counts: Counts) -> None:
    """Put what became of a table's records on the run, once it has ended with that table."""
    # A retry copies the tags of the run before it: the run's id says whose counts these are.
    text = json.dumps({"run_id": run_id, **counts.published})
    instance.add_run_tags(run_id, {_COUNTS + table.target: text})


def recorded_counts(run_id: str, tags: Mapping[str, str]) -> dict[str, Counts]:
    """Return the counts that the run itself has put on its tags, by asset."""
    values = {key.removeprefix(_COUNTS): json.loads(text) for key, text in tags.items() if key.startswith(_COUNTS)}
    return {asset: Counts.from_published(found) for asset, found in values.items() if found["run_id"] == run_id}
