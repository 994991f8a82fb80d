"""(f), (g), (h): what depends on how much history Postgres holds, at one million rows and at the run's size."""

from collections.abc import Collection

from benchmarks import api, children, queries, totals
from benchmarks.merge import WrongResult
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.postgres.connection import connect

MEASURES = ("totals", "queries", "memory", "api")


def measure(world: World, samples: Samples, dates: int, chosen: Collection[str], repeat: int) -> None:
    """Load `dates` dates in a process of its own, then measure on them what was chosen."""
    with world.database() as url:
        with world.bars.part(f"a history of {dates} dates"):
            answer = children.run(world.directory, "benchmarks.sync_process", [url, world.rows(), dates])
        if answer["landed"] != dates:
            raise WrongResult(f"{answer['landed']} of {dates} dates landed")
        if "memory" in chosen:
            samples.add(f"memory.{dates}", answer["memory"])
        with connect(url) as connection:
            settle(connection)
            if "queries" in chosen:
                queries.measure(connection, world, samples, dates)
            if "api" in chosen:
                api.measure(url, world, samples, dates, repeat)
        if "totals" in chosen:
            for number in range(repeat):
                totals.measure(url, world, samples, dates, number)
