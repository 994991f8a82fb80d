"""(j) A process of its own that hands runs to the workers and waits for their ends."""

import json
import sys
import time
from datetime import date

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.reconstruct import ReconstructableRepository

from engarde_pipeline.core.dates import dates_between
from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.run_config import range_run

_POLL_SECONDS = 0.1


def main(first: str, last: str, dates_per_run: int) -> None:
    """Sync from `first` to `last` in runs of `dates_per_run`; print the seconds until the last has ended."""
    dates = dates_between(date.fromisoformat(first), date.fromisoformat(last))
    with DagsterInstance.get() as instance:
        run_ids = [
            _create(instance, dates[start], dates[min(start + dates_per_run, len(dates)) - 1])
            for start in range(0, len(dates), dates_per_run)
        ]
        started = time.time()
        for run_id in run_ids:
            instance.launch_run(run_id, None)  # type: ignore[arg-type]  # a worker loads the job itself
        while not all(run.is_finished for run in instance.get_runs(RunsFilter(run_ids))):
            time.sleep(_POLL_SECONDS)
        records = instance.get_run_records(RunsFilter(run_ids))
        failed = [record for record in records if record.dagster_run.status is not DagsterRunStatus.SUCCESS]
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(records)} runs failed")
        seconds = max(record.end_time or 0 for record in records) - started
    sys.stdout.write("\n" + json.dumps({"seconds": seconds}) + "\n")


def _create(instance: DagsterInstance, first: date, last: date) -> str:
    spec = range_run(first, last)
    repository = ReconstructableRepository.for_module("engarde_pipeline.definitions", "defs")
    run = instance.create_run_for_job(
        job_def=defs.resolve_job_def(spec.job),
        run_config=spec.run_config,
        tags=spec.tags,
        job_code_origin=repository.get_reconstructable_job(spec.job).get_python_origin(),
    )
    return run.run_id


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3], int(sys.argv[4]))
