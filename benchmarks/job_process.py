"""(e) A process of its own that runs a job over a range of dates, as Dagster starts one for a run.

It says where the time went, counted from the moment its parent started it. Seconds that connections spend side
by side are divided by their number.
"""

import json
import sys
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import requests

from benchmarks.children import peak_memory

Waits = list[tuple[float, float]]
"""When each request to BigQuery was sent, and answered."""

_ASSETS = {"campaign_metrics", "campaign_asset_metrics", "campaign_space_aggregates"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(started: str, job: str, first: str, last: str) -> None:
    """Run `job` from `first` to `last`, one of those below; print the seconds of its parts."""
    measures = {
        "pipeline": _pipeline,
        "spawned": _spawned,
        "empty": _empty,
        "loaded": _loaded,
        "events": _events,
    }
    answer = measures[job](float(started), date.fromisoformat(first), date.fromisoformat(last))
    sys.stdout.write("\n" + json.dumps({**answer, "memory": peak_memory()}) + "\n")


def _pipeline(started: float, first: date, last: date) -> dict[str, float]:
    from dagster import DagsterInstance

    import engarde_pipeline.definitions  # noqa: F401  what a run imports
    from engarde_pipeline.cli.runs import run_job
    from engarde_pipeline.core.dates import dates_between
    from engarde_pipeline.runs.run_config import range_run
    from engarde_pipeline.settings import load_pipeline_settings
    from engarde_pipeline.sync.parallel import MINIMUM_DATES

    loaded = time.time()
    dates = dates_between(first, last)
    waits = _note_waits()
    with DagsterInstance.get() as instance:
        run = run_job(instance, range_run(dates[0], dates[-1]), 2 * len(dates))
        ended = time.time()
        if not run.succeeded:
            raise RuntimeError(f"the run failed: {run.reasons}")
        steps = {step.step_key: step for step in instance.get_run_step_stats(run.run_id)}
        landed = [
            event.asset_materialization
            for event in run.landed
            if event.asset_materialization and event.asset_materialization.asset_key.to_user_string() in _ASSETS
        ]
    writers = load_pipeline_settings().engarde_writers if len(dates) > MINIMUM_DATES else 1
    synced = [entry for entry in landed if "seconds_reading" in entry.metadata]
    if len(synced) != len(dates):
        raise RuntimeError(f"{len(synced)} of {len(dates)} dates landed")
    checks = [step for key, step in steps.items() if key not in _ASSETS and key != "campaign_space_aggregates"]
    return {
        "seconds": ended - started,
        "bigquery": sum(end - start for start, end in waits),
        "bigquery_checks": sum(
            end - start
            for start, end in waits
            for step in checks
            if (step.start_time or 0) <= start <= (step.end_time or 0)
        ),
        "starting": loaded - started,
        "reading": _sum(synced, "seconds_reading") / writers,
        "merging": _sum(synced, "seconds_merging") / writers,
        "totals": _took(steps.pop("campaign_space_aggregates")),
        "checks": sum(map(_took, checks)),
    }


def _note_waits() -> Waits:
    """Return a list to which every request to BigQuery is added; the Storage API's are part of the reading."""
    waits: Waits = []
    send = requests.Session.send

    def send_and_note(*arguments: Any, **options: Any) -> Any:
        started = time.time()
        try:
            return send(*arguments, **options)
        finally:
            waits.append((started, time.time()))

    requests.Session.send = send_and_note  # type: ignore[method-assign]
    return waits


def _spawned(started: float, first: date, last: date) -> dict[str, float]:
    from dagster import DagsterInstance, execute_job, reconstructable

    from benchmarks.spawned import spawned

    loaded = time.time()
    with DagsterInstance.get() as instance:
        run = execute_job(reconstructable(spawned), instance, run_config=_QUIET, tags=_range(first, last))
        ended = time.time()
    if not run.success:
        raise RuntimeError("the run with a process per step failed")
    return {"seconds": ended - started, "starting": loaded - started}


def _empty(started: float, first: date, last: date) -> dict[str, float]:
    from benchmarks.empty_asset import defs

    return _reference(defs, "empty_job", started, first, last)


def _loaded(started: float, first: date, last: date) -> dict[str, float]:
    import engarde_pipeline.definitions  # noqa: F401  what a run imports

    return _empty(started, first, last)


def _events(started: float, first: date, last: date) -> dict[str, float]:
    from benchmarks.same_events import JOB, defs

    return _reference(defs, JOB, started, first, last)


def _reference(defs: Any, job: str, started: float, first: date, last: date) -> dict[str, float]:
    from dagster import DagsterInstance

    loaded = time.time()
    with DagsterInstance.get() as instance:
        run = defs.resolve_job_def(job).execute_in_process(
            instance=instance, tags=_range(first, last), run_config=_QUIET
        )
        ended = time.time()
    if not run.success:
        raise RuntimeError(f"the run of {job} failed")
    return {"seconds": ended - started, "starting": loaded - started}


def _range(first: date, last: date) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def _sum(landed: Sequence[Any], name: str) -> float:
    return sum(float(entry.metadata[name].value) for entry in landed)


def _took(step: Any) -> float:
    return float(step.end_time - step.start_time)


if __name__ == "__main__":
    main(*sys.argv[1:])
