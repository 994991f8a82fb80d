"""(k) The processor time that importing the definitions costs: every run, step process and reload pays it."""

from benchmarks import children
from benchmarks.samples import Samples
from benchmarks.world import World

MODULES = {"definitions": "engarde_pipeline.definitions", "dagster": "dagster"}

_ENVIRONMENT = {"DATABASE_URL": "postgresql://unused", "BIGQUERY_PROJECT_ID": "unused"}
"""What the definitions demand when they are imported; they connect to nothing."""


def measure(world: World, samples: Samples) -> None:
    """Measure one round: seconds of CPU, the definitions and Dagster alone, each in a fresh process."""
    for name, module in MODULES.items():
        with world.bars.part(f"import {module}"):
            answer = children.run(world.directory, "benchmarks.imports_process", [module], _ENVIRONMENT)
        samples.add(f"imports.{name}", answer["seconds"])


def warm_up(world: World) -> None:
    """Compile what is imported, before anything is timed."""
    measure(world, Samples())
