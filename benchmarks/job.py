"""(e) The whole job, from BigQuery's emulator through Dagster to Postgres, and where its time goes.

Beside it an empty asset with the same partitions, and assets and checks that only record the same events, each in
a fresh process as Dagster starts one: for one small date and for many in one run; and for the one date, the empty
asset in a process that imports what the pipeline does, and the same job with a process per step. What neither
reads, merges, totals, checks nor starts is Dagster's own: events, metadata, run records.

The emulator takes seconds for what BigQuery answers at once (the partitions of a table) and sums rows much more
slowly, so what the job waited for its answers is measured, too.
"""

import shutil

from benchmarks import children, data, emulated
from benchmarks.samples import Samples
from benchmarks.world import World
from engarde_pipeline.postgres.connection import connect

PARTS = ("starting", "reading", "merging", "totals", "checks")
WAITS = ("bigquery", "bigquery_checks")
JOBS = ("pipeline", "empty", "events")
"""The pipeline, and what small dates are compared with."""


def measure(world: World, samples: Samples, emulator: dict[str, str]) -> None:
    """Measure one round; `emulator` is the environment that names the running emulator."""
    with world.database() as url:
        variables = environment(world, emulator, url, emulated.LARGE)
        answer = _run(world, variables, "pipeline", world.size.dates, "the whole job")
        for part in ("seconds", "memory", *PARTS, *WAITS):
            samples.add(f"job.{part}", answer[part])
        # What reading and merging save by running at the same time is not Dagster's.
        samples.add("job.dagster", max(0.0, answer["seconds"] - sum(answer[part] for part in PARTS)))
        samples.add("job.own_checks", answer["checks"] - answer["bigquery_checks"])
        with connect(url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            samples.add("job.disk", float(row[0]))
    with world.database() as url:
        variables = environment(world, emulator, url, emulated.SMALL)
        for dates in (1, world.size.small_dates):
            for job in (*JOBS, "loaded", "spawned") if dates == 1 else JOBS:
                answer = _run(world, variables, job, dates, f"{job}, {dates} small dates")
                samples.add(f"small.{job}.{dates}", answer["seconds"])
                if job == "pipeline":
                    samples.add(f"small.own.{dates}", answer["seconds"] - answer["bigquery"])
                    samples.add(f"small.bigquery.{dates}", answer["bigquery"])


def warm_up(world: World, emulator: dict[str, str]) -> None:
    """Make Dagster's storage, and compile what is imported, before anything is timed."""
    with world.database() as url:
        variables = environment(world, emulator, url, emulated.SMALL)
        for job in JOBS:
            _run(world, variables, job, 1, "warming up")


def _run(world: World, variables: dict[str, str], job: str, dates: int, label: str) -> dict[str, float]:
    days = data.days(dates)
    with world.bars.part(label):
        return children.run(world.directory, "benchmarks.job_process", [job, days[0], days[-1]], variables)


def environment(world: World, emulator: dict[str, str], url: str, dataset: str) -> dict[str, str]:
    """Return the environment of a process that syncs from `dataset` to `url`."""
    home = world.directory / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(children.ROOT / "dagster.yaml", home)
    return {
        **emulator,
        "BIGQUERY_DATASET_ID": dataset,
        "DATABASE_URL": url,
        "DAGSTER_DATABASE_URL": world.dagster_database_url,
        "DAGSTER_HOME": str(home),
        "ENGARDE_HOME": str(world.directory / "engarde"),
    }
