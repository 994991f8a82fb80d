"""(i) The job log in a long history: how long a look-up takes, with every other run of Dagster's around it."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_DNS, uuid5

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster_shared.serdes import serialize_value

from benchmarks.children import ROOT
from benchmarks.samples import Samples
from benchmarks.world import World
from engarde_pipeline.dagster_internals import runs_by_job_and_status
from engarde_pipeline.runs.job_log import count_jobs, get_job, in_progress, last_completed, list_jobs

_BATCH = 5_000
_EVERY_RETRIED = 50
_EVERY_SLICE = 2

LOOK_UPS = ("50 newest jobs", "a tenant's status", "one job", "runs by job and status")


def measure(world: World, samples: Samples, repeat: int) -> None:
    """Measure each look-up's milliseconds, in Dagster's history with `job_log_runs` runs in it."""
    home = world.directory / "job_log"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    tenants = [str(tenant) for tenant in world.portfolio.tenant_ids]
    with world.database() as url:
        os.environ["DAGSTER_DATABASE_URL"] = url  # read by the storage that dagster.yaml names
        try:
            with DagsterInstance.from_config(str(home)) as instance:
                _measure(instance, world.size.job_log_runs, tenants, samples, repeat)
        finally:
            del os.environ["DAGSTER_DATABASE_URL"]


def _measure(instance: DagsterInstance, runs: int, tenants: list[str], samples: Samples, repeat: int) -> None:
    _fill(instance, runs, tenants)
    one = _id(runs // 2)

    def status(tenant: str) -> None:
        list_jobs(instance, 10, tenant)
        last_completed(instance, tenant)
        in_progress(instance, tenant)
        count_jobs(instance, tenant)

    look_ups: dict[str, Callable[[int], object]] = {
        "50 newest jobs": lambda _: list_jobs(instance, 50),
        "a tenant's status": lambda n: status(tenants[n % len(tenants)]),
        "one job": lambda _: get_job(instance, one),
        "runs by job and status": lambda _: runs_by_job_and_status(instance),  # at each scrape of the exporter
    }
    for number in range(10 * repeat):
        for name, look_up in look_ups.items():
            started = time.perf_counter()
            look_up(number)
            samples.add(f"job_log.{name}", 1000 * (time.perf_counter() - started))


def _fill(instance: DagsterInstance, count: int, tenants: list[str]) -> None:
    """Put runs into the storage as it stores them itself, only many at once."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    for start in range(0, count, _BATCH):
        runs = list(_runs(range(start, min(start + _BATCH, count)), tenants))
        with storage.connect() as connection:
            connection.execute(
                RunsTable.insert(),
                [
                    {
                        "run_id": run.run_id,
                        "pipeline_name": run.job_name,
                        "status": run.status.value,
                        "run_body": serialize_value(run),
                        "create_timestamp": moment,
                        "update_timestamp": moment,
                        "start_time": moment.timestamp(),
                        "end_time": moment.timestamp() + 60,
                    }
                    for run, moment in runs
                ],
            )
            connection.execute(
                RunTagsTable.insert(),
                [
                    {"run_id": run.run_id, "key": key, "value": value}
                    for run, _ in runs
                    for key, value in run.tags.items()
                ],
            )


def _runs(numbers: range, tenants: list[str]) -> Iterator[tuple[DagsterRun, datetime]]:
    first = datetime(2022, 1, 1, tzinfo=UTC)
    for n in numbers:
        is_retry = n % _EVERY_RETRIED == 1
        of_tenant = tenants[n // _EVERY_SLICE % len(tenants)] if n % _EVERY_SLICE == 0 else None
        retry = {
            "dagster/retry_number": "1",
            "dagster/parent_run_id": _id(n - 1),
            "dagster/root_run_id": _id(n - 1),
        }
        tags = {
            "dagster/partition": str((first + timedelta(hours=n)).date()),
            **({"engarde/tenant": of_tenant, "engarde/triggered_by": "api"} if of_tenant else {}),
            **(retry if is_retry else {}),
        }
        config = {"start": tags["dagster/partition"], "end": tags["dagster/partition"], "tenant": of_tenant}
        run = DagsterRun(
            job_name="slice_sync" if of_tenant else "performance_sync",
            run_id=_id(n),
            run_config={"ops": {"sync_the_slice": {"config": config}}} if of_tenant else {},
            tags=tags,
            root_run_id=_id(n - 1) if is_retry else None,
            parent_run_id=_id(n - 1) if is_retry else None,
            status=DagsterRunStatus.SUCCESS,
        )
        yield run, (first + timedelta(minutes=n)).replace(tzinfo=None)


def _id(number: int) -> str:
    return str(uuid5(NAMESPACE_DNS, f"run {number}"))
