"""All imports from Dagster's private modules, each with the public API that is missing.

No other module imports from `dagster._...`. `test_dagster_internals` fails if a new version of Dagster changes
what is used here.

* The tags (`..._TAG`): Dagster documents their values but exports no constants.
* `HIDDEN_TAG_PREFIX`: tags that begin with it are not shown in the UI. Missing public API: a constant.
* `DagsterSqliteStorage`: the storage that Dagster uses if dagster.yaml names none. Missing public API: the class.
* `CheckError`: `DagsterInstance.get` raises it for some malformed dagster.yaml files, and it has no public base
class.
* `LaunchRunContext`, `CheckRunHealthResult`, `WorkerStatus`, `DagsterLaunchFailedError` and
`DagsterUserCodeUnreachableError`: what a run launcher is given, returns and raises. The daemon marks a run as
failed after the first error, and puts it back into the queue after the second. Missing public API: run launchers
of one's own.
* The rest is used by the functions below; their docstrings name the missing public API.
"""

from collections.abc import Mapping

from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogRecord, JobDefinition
from dagster._check import CheckError as CheckError
from dagster._core.definitions.data_version import DATA_VERSION_TAG as DATA_VERSION_TAG
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterLaunchFailedError as DagsterLaunchFailedError
from dagster._core.errors import DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES as BULK_ACTION_TERMINAL_STATUSES
from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher import LaunchRunContext as LaunchRunContext
from dagster._core.launcher import WorkerStatus as WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as DagsterSqliteStorage
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as ASSET_PARTITION_RANGE_END_TAG
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as ASSET_PARTITION_RANGE_START_TAG
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG as AUTO_RETRY_RUN_ID_TAG
from dagster._core.storage.tags import BACKFILL_ID_TAG as BACKFILL_ID_TAG
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX as HIDDEN_TAG_PREFIX
from dagster._core.storage.tags import MAX_RETRIES_TAG as MAX_RETRIES_TAG
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_NAME_TAG
from dagster._core.storage.tags import PRIORITY_TAG as PRIORITY_TAG
from dagster._core.storage.tags import RETRY_NUMBER_TAG as RETRY_NUMBER_TAG
from dagster._core.storage.tags import ROOT_RUN_ID_TAG as ROOT_RUN_ID_TAG
from dagster._core.storage.tags import SCHEDULE_NAME_TAG as SCHEDULE_NAME_TAG
from dagster._core.storage.tags import SENSOR_NAME_TAG as SENSOR_NAME_TAG
from dagster._core.storage.tags import WILL_RETRY_TAG as WILL_RETRY_TAG

ASSET_JOB = "__ASSET_JOB"
"""The job in which Dagster materializes selected assets. Missing public API: a constant."""

_REPOSITORY = "__repository__"
"""The name of the repository of a `Definitions` object."""

NO_MATERIALIZATIONS_AT_THE_END = {"__source_asset_observation__": True}
"""Output metadata that stops Dagster from logging materializations when a step ends.

When a step ends, Dagster materializes all partitions of its range: an asset cannot report which dates landed
(dagster issue 17836). Each date's materialization is logged when the date lands, so Dagster must not log another
one. Dagster uses this metadata for observable source assets, which log their events themselves.
"""


def is_of_ended_backfill(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether a run belongs to a backfill that starts no more runs.

    Missing public API: the terminal statuses of a backfill.
    """
    if BACKFILL_ID_TAG not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG])
    return backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES


def was_interrupted(instance: DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because its process was interrupted.

    Missing public API: the reason of a run failure.
    """
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    return any(_failure_reason(record) is RunFailureReason.UNEXPECTED_TERMINATION for record in records)


def _failure_reason(record: EventLogRecord) -> RunFailureReason | None:
    data = record.event_log_entry.get_dagster_event().event_specific_data
    return data.failure_reason if isinstance(data, JobFailureData) else None


def execute_in_location(
    instance: DagsterInstance,
    job: JobDefinition,
    location: str,
    *,
    run_id: str,
    tags: Mapping[str, str],
    run_config: Mapping[str, object],
) -> None:
    """Run a job with the in-process executor as a run of `location`; its failure raises no exception.

    Missing public API: `execute_in_process` creates runs without an origin, which the UI shows neither on the
    timeline nor on the page of their job.
    """
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), _REPOSITORY)
    run = instance.create_run_for_job(
        job_def=job,
        run_id=run_id,
        tags={**job.run_tags, **tags},
        run_config=run_config,
        remote_job_origin=repository.get_job_origin(job.name),
    )
    for _ in execute_run_iterator(InMemoryJob(job), run, instance):
        pass
