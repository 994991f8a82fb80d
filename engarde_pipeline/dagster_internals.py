"""All imports from Dagster's private modules, each with the public API that is missing.

No other module imports from `dagster._...`. `test_dagster_internals` fails if a new version of Dagster changes
what is used here.

* The tags (`..._TAG`): Dagster documents their values but exports no constants.
* `DagsterSqliteStorage`: the storage that Dagster uses if dagster.yaml names none. Missing public API: the class.
* `CheckRunHealthResult`, `LaunchRunContext`, `WorkerStatus`: what a run launcher is given and returns. Missing
public API: run launchers of one's own.
* `DagsterUserCodeUnreachableError`: the error after which the queue tries to launch a run again. Missing public
API: an error of a run launcher that is temporary.
* `CheckError`: `DagsterInstance.get` raises it for some malformed dagster.yaml files, and it has no public base
class.
* The rest is used by the functions below; their docstrings name the missing public API.
"""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogRecord, JobDefinition
from dagster._check import CheckError as CheckError
from dagster._core.definitions.data_version import DATA_VERSION_TAG as DATA_VERSION_TAG
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES as BULK_ACTION_TERMINAL_STATUSES
from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher import LaunchRunContext as LaunchRunContext
from dagster._core.launcher import WorkerStatus as WorkerStatus
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as DagsterSqliteStorage
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as ASSET_PARTITION_RANGE_END_TAG
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as ASSET_PARTITION_RANGE_START_TAG
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG as AUTO_RETRY_RUN_ID_TAG
from dagster._core.storage.tags import BACKFILL_ID_TAG as BACKFILL_ID_TAG
from dagster._core.storage.tags import MAX_RETRIES_TAG as MAX_RETRIES_TAG
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_NAME_TAG
from dagster._core.storage.tags import PRIORITY_TAG as PRIORITY_TAG
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG as REPOSITORY_LABEL_TAG
from dagster._core.storage.tags import RETRY_NUMBER_TAG as RETRY_NUMBER_TAG
from dagster._core.storage.tags import ROOT_RUN_ID_TAG as ROOT_RUN_ID_TAG
from dagster._core.storage.tags import SCHEDULE_NAME_TAG as SCHEDULE_NAME_TAG
from dagster._core.storage.tags import SENSOR_NAME_TAG as SENSOR_NAME_TAG
from dagster._core.storage.tags import WILL_RETRY_TAG as WILL_RETRY_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

ASSET_JOB = "__ASSET_JOB"
"""The job in which Dagster materializes selected assets. Missing public API: a constant."""

NO_MATERIALIZATIONS_AT_THE_END = {"__source_asset_observation__": True}
"""Output metadata that stops Dagster from logging materializations when a step ends.

When a step ends, Dagster materializes all partitions of its range: an asset cannot report which dates landed
(dagster issue 17836). Each date's materialization is logged when the date lands, so Dagster must not log another
one. Dagster uses this metadata for observable source assets, which log their events themselves.
"""

CODE_LOCATION = "engarde_pipeline"
"""The name of the code location in workspace.yaml."""

MODULE = "engarde_pipeline.definitions"
"""The module of the code location."""


def submit_run(
    instance: DagsterInstance,
    job: JobDefinition,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
    code_location: str,
) -> str:
    """Create a run of `job` in the daemon's `code_location` and submit it to the queue; return its id.

    Missing public API: submitting a run without a webserver. `DagsterGraphQLClient` needs one that has loaded the
    code location.
    """
    origin = job_origin(job.name, code_location)
    repository = ReconstructableRepository.for_module(MODULE, "defs")
    run = instance.create_run_for_job(
        job_def=job,
        run_config=run_config,
        tags={**job.run_tags, **tags, REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()},
        remote_job_origin=origin,
        job_code_origin=repository.get_reconstructable_job(job.name).get_python_origin(),
    )
    try:
        instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    except Exception:
        # The run would never start or end, and would block other runs of its dates.
        instance.delete_run(run.run_id)
        raise
    return run.run_id


def job_origin(job_name: str, code_location: str = CODE_LOCATION) -> RemoteJobOrigin:
    """Return the origin with which the daemon finds a job."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=MODULE), code_location)
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job_name)


def loaded_code_location(instance: DagsterInstance, sensor_name: str) -> str:
    """Return the name of the code location that the daemon has loaded.

    It depends on how the daemon was started: with `-m` it is the name of the module, not the one in
    workspace.yaml. It is read from the state that the daemon stores for the sensor `sensor_name`. Missing public
    API: the daemon's workspace.
    """
    states = [
        state
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if state.instigator_name == sensor_name
    ]
    if not states:
        return CODE_LOCATION  # the daemon has just been started for the first time
    latest = max(states, key=_last_tick)
    return str(latest.origin.repository_origin.code_location_origin.location_name)


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
    return record.event_log_entry.get_dagster_event().job_failure_data.failure_reason


def _last_tick(state: InstigatorState) -> float:
    data = state.instigator_data
    return (data.last_tick_timestamp or 0) if isinstance(data, SensorInstigatorData) else 0
