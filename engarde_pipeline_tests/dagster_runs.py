"""Running the real jobs on a real instance, and reading what Dagster says afterwards."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from dagster import (
    AssetKey,
    AssetRecordsFilter,
    AssetSelection,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    Definitions,
    EventLogRecord,
    ExecuteInProcessResult,
    define_asset_job,
)
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from engarde_pipeline.definitions import defs


def run_range(
    instance: DagsterInstance, start: date, end: date, config: Mapping[str, object] | None = None
) -> ExecuteInProcessResult:
    """Run performance_sync over the partitions from `start` to `end`, as the UI does for a range."""
    options = {"config": config or {}}
    return defs.resolve_job_def("performance_sync").execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": start.isoformat(),
            "dagster/asset_partition_range_end": end.isoformat(),
        },
        run_config={"ops": {"campaign_metrics": options, "campaign_asset_metrics": options}},
    )


def run_slice(instance: DagsterInstance, config: Mapping[str, object]) -> ExecuteInProcessResult:
    """Run slice_sync."""
    return defs.resolve_job_def("slice_sync").execute_in_process(
        instance=instance, raise_on_error=False, run_config={"ops": {"sync_the_slice": {"config": config}}}
    )


def execute(instance: DagsterInstance, run_id: str) -> None:
    """Execute a queued run, as the process does that the daemon starts for it."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_STARTING.value, run.job_name), run_id=run_id)
    starting = instance.get_run_by_id(run_id)
    assert starting is not None
    job = ReconstructableRepository.for_module("engarde_pipeline.definitions", "defs")
    execute_run(job.get_reconstructable_job(run.job_name), starting, instance)


def checks_alone(instance: DagsterInstance) -> ExecuteInProcessResult:
    """Run every check, and no asset, as *Execute all* does in the UI: on the provisional dates."""
    job = define_asset_job("checks_alone", AssetSelection.all_asset_checks())
    alone = Definitions.merge(defs, Definitions(jobs=[job]))
    return alone.resolve_job_def("checks_alone").execute_in_process(instance=instance)


def origin_of(job: str) -> RemoteJobOrigin:
    """Return the origin of a job, which a queued run has."""
    target = LoadableTargetOrigin(module_name="engarde_pipeline.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "engarde_pipeline")
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job)


def observed(instance: DagsterInstance, run_id: str, asset: str = "campaign_metrics") -> dict[str, dict[str, Any]]:
    """The metadata of each date that a run observed."""
    found = instance.fetch_observations(AssetRecordsFilter(AssetKey(asset)), limit=100).records
    return {
        record.partition_key or "": {n: v.value for n, v in record.asset_observation.metadata.items()}
        for record in found
        if record.asset_observation and record.run_id == run_id
    }


def unfinished(instance: DagsterInstance) -> list[DagsterRun]:
    """The runs that have not ended."""
    return [run for run in instance.get_runs() if not run.is_finished]


def materializations(instance: DagsterInstance, asset: str) -> list[EventLogRecord]:
    """Return every materialization of an asset, oldest first."""
    records = instance.fetch_materializations(AssetRecordsFilter(AssetKey(asset)), limit=1000).records
    return list(reversed(records))


def landed_dates(instance: DagsterInstance, asset: str) -> list[str]:
    """Return the partitions of an asset's materializations in the order they were logged."""
    return [record.partition_key or "" for record in materializations(instance, asset)]


def failure_of(instance: DagsterInstance, run: ExecuteInProcessResult) -> str:
    """Return what a failed run tells the person who looks at it."""
    (record,) = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    data = record.event_log_entry.get_dagster_event().step_failure_data
    assert data.user_failure_data is not None
    return data.user_failure_data.description or ""


def check_results(run: ExecuteInProcessResult) -> dict[str, bool]:
    """Return each check that a run evaluated, as asset:check, and whether it passed for all dates."""
    results: dict[str, bool] = {}
    for check in run.get_asset_check_evaluations():
        name = f"{check.asset_key.to_user_string()}:{check.check_name}"
        results[name] = results.get(name, True) and check.passed
    return results


def process_of(instance: DagsterInstance, run_id: str) -> int:
    """Return the process in which a run was executed."""
    (pid,) = {
        int(str(event.engine_event_data.metadata["pid"].value))
        for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)
        if (event := entry.dagster_event) and "pid" in event.engine_event_data.metadata
    }
    return pid
