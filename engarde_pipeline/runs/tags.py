"""What a run says about itself in its tags, so that the job log reads it with the run, without an event.

A list of fifty jobs is then one query, however many dates each of them synced.
"""

import json
from collections.abc import Mapping

from dagster import DagsterInstance

from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.defs.metadata import counts_metadata
from engarde_pipeline.postgres.load.merge import Counts

TENANT = "engarde/tenant"
"""Whose slice a run syncs: the tenant's uuid, or ALL_TENANTS."""

ALL_TENANTS = "all"

NO_DATES = {"engarde/dates": "none"}
"""On a run that syncs no date, only totals, as each backfill starts one: it is no sync job."""

NO_RETRIES = {"dagster/max_retries": "0"}
"""On a run that is not to be started again: `allow_retries=False` binds only an op's own retries."""

REASON = "engarde/reason"
"""Why a run's dates were due."""

FORCED = "forced: somebody asked for it"
"""The reason where no plan did."""

_COUNTS = "engarde/counts."


def tell_counts(instance: DagsterInstance, run_id: str, table: MetricTable, counts: Counts) -> None:
    """Put what became of a table's records on the run, once it has ended with that table."""
    # A retry copies the tags of the run before it: the run's id says whose counts these are.
    told = json.dumps({"run_id": run_id, **counts_metadata(counts)})
    instance.add_run_tags(run_id, {_COUNTS + table.target: told})


def told_counts(run_id: str, tags: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return the counts that the run itself put on its tags, by asset, under their metadata names."""
    told = {key.removeprefix(_COUNTS): json.loads(value) for key, value in tags.items() if key.startswith(_COUNTS)}
    return {asset: counts for asset, counts in told.items() if counts.pop("run_id") == run_id}
