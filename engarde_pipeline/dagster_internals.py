"""Everything that is taken from Dagster's private modules, each with the public way that is missing.

No other module imports from `dagster._...`. `test_dagster_internals` fails when a new version of Dagster changes
what stands here.

* The tags (`..._TAG`): Dagster documents them by their text and exports no constants.
* `CheckError`: `DagsterInstance.get` raises it for some malformed dagster.yaml, and no public error is its base.
* The rest is used by the functions below, which say what is missing.
"""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogRecord, JobDefinition
from dagster._check import CheckError as CheckError
from dagster._core.definitions.data_version import DATA_VERSION_TAG as DATA_VERSION_TAG
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES as BULK_ACTION_TERMINAL_STATUSES
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData
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
"""The job in which Dagster materializes assets on their own. The public way that is missing: a constant."""

NO_MATERIALIZATIONS_AT_THE_END = {"__source_asset_observation__": True}
"""Output metadata with which Dagster logs no materialization of its own when a step ends.

Dagster materializes every partition of a range when a step ends, or none: an asset cannot say which dates landed
(dagster issue 17836). Each date's materialization is logged as it lands, so the event for all of them must not be.
Dagster's own observable sources say in this way that their events are logged already.
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
    """Record a run of `job` and queue it for the daemon's `code_location`; return its id.

    Nothing is loaded for it, and no webserver is needed. The public way that is missing: `DagsterGraphQLClient`
    needs a webserver that has loaded the code location.
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
        # Nothing would ever start or end it, while it kept other runs from its dates.
        instance.delete_run(run.run_id)
        raise
    return run.run_id


def job_origin(job_name: str, code_location: str = CODE_LOCATION) -> RemoteJobOrigin:
    """Return where the daemon finds a job."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=MODULE), code_location)
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job_name)


def loaded_code_location(instance: DagsterInstance, sensor_name: str) -> str:
    """Return the name of the code location that the daemon has loaded.

    It depends on how the daemon was started: with `-m` it is the module's name, and not the one in workspace.yaml.
    The daemon stores it with the state of a sensor, here of `sensor_name`. The public way that is missing: the
    instance does not know the daemon's workspace.
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
    """Return whether a run belongs to a backfill that starts no runs any more.

    The public way that is missing: the statuses that a backfill ends in are private.
    """
    if BACKFILL_ID_TAG not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG])
    return backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES


def was_interrupted(instance: DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because its process was interrupted.

    The public way that is missing: the reason of a failure is private.
    """
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    return any(_failure_reason(record) is RunFailureReason.UNEXPECTED_TERMINATION for record in records)


def _failure_reason(record: EventLogRecord) -> RunFailureReason | None:
    return record.event_log_entry.get_dagster_event().job_failure_data.failure_reason


def _last_tick(state: InstigatorState) -> float:
    data = state.instigator_data
    return (data.last_tick_timestamp or 0) if isinstance(data, SensorInstigatorData) else 0
