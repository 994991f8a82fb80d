"""Runs that are handed to the workers as the daemon does, without Dagster's queue."""

from datetime import date

from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.origin import JobPythonOrigin

from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.run_config import RunSpec, range_run
from engarde_pipeline_tests.defs.daemon import eventually


def launch(instance: DagsterInstance, start: date, end: date) -> str:
    """Hand a run of the partitions from `start` to `end` to the workers; return its id."""
    return launch_spec(instance, range_run(start, end))


def launch_spec(instance: DagsterInstance, spec: RunSpec) -> str:
    """Hand a run to the workers, without Dagster's queue."""
    run = instance.create_run_for_job(
        job_def=defs.resolve_job_def(spec.job),
        run_config=spec.run_config,
        tags=spec.tags,
        job_code_origin=code_origin_of(spec.job),
    )
    instance.launch_run(run.run_id, None)  # type: ignore[arg-type]  # a worker loads the job itself
    return run.run_id


def code_origin_of(job: str) -> JobPythonOrigin:
    """Return with what a worker loads a job."""
    repository = ReconstructableRepository.for_module("engarde_pipeline.definitions", "defs")
    return repository.get_reconstructable_job(job).get_python_origin()


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def wait_for(instance: DagsterInstance, run_id: str, *statuses: DagsterRunStatus, seconds: float = 60) -> None:
    """Wait until a run has one of `statuses`."""
    what = f"run {run_id} as {' or '.join(status.value for status in statuses)}"
    eventually(lambda: status_of(instance, run_id) in statuses, what, seconds)
