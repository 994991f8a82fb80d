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

from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogRecord
from dagster._check import CheckError as CheckError
from dagster._core.definitions.data_version import DATA_VERSION_TAG as DATA_VERSION_TAG
from dagster._core.errors import DagsterLaunchFailedError as DagsterLaunchFailedError
from dagster._core.errors import DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES as BULK_ACTION_TERMINAL_STATUSES
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher import LaunchRunContext as LaunchRunContext
from dagster._core.launcher import WorkerStatus as WorkerStatus
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

_CANCELED = (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)

ASSET_JOB = "__ASSET_JOB"
"""The job in which Dagster materializes selected assets. Missing public API: a constant."""

NO_MATERIALIZATIONS_AT_THE_END = {"__source_asset_observation__": True}
"""Output metadata that stops Dagster from logging materializations when a step ends.

When a step ends, Dagster materializes all partitions of its range: an asset cannot report which dates landed
(dagster issue 17836). Each date's materialization is logged when the date lands, so Dagster must not log another
one. Dagster uses this metadata for observable source assets, which log their events themselves.
"""


def is_of_ended_backfill(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether a run belongs to a backfill that starts no more runs: it has ended, or is being canceled.

    Missing public API: the statuses of a backfill.
    """
    if BACKFILL_ID_TAG not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG])
    return backfill is None or backfill.status in (*BULK_ACTION_TERMINAL_STATUSES, *_CANCELED)


def canceled_backfill(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Return the id of the canceled backfill whose run is retried by `run`, or None.

    The daemon still retries the runs of a backfill that is being canceled, and takes the tag of the backfill from
    the retry. Nor does it cancel a retry that is starting. Missing public API: the statuses of a backfill.
    """
    if RETRY_NUMBER_TAG not in run.tags:
        return None
    failed = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    for of_backfill in (run, failed):
        if of_backfill and BACKFILL_ID_TAG in of_backfill.tags:
            backfill = instance.get_backfill(of_backfill.tags[BACKFILL_ID_TAG])
            if backfill and backfill.status in _CANCELED:
                return backfill.backfill_id
    return None


def was_interrupted(instance: DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because its process was interrupted.

    Missing public API: the reason of a run failure.
    """
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    return any(_failure_reason(record) is RunFailureReason.UNEXPECTED_TERMINATION for record in records)


def _failure_reason(record: EventLogRecord) -> RunFailureReason | None:
    return record.event_log_entry.get_dagster_event().job_failure_data.failure_reason
