"""(k) The processor time that importing the definitions costs: every run, step process and reload pays it."""

from benchmarks import children
from benchmarks.samples import Samples
from benchmarks.world import World

MODULES = {
    "definitions": ["engarde_pipeline.definitions"],
    "libraries": ["dagster", "dagster_gcp", "dagster_postgres", "google.cloud.bigquery_storage", "psycopg"],
    "dagster": ["dagster"],
}
"""The definitions; the libraries that every run of theirs needs; and Dagster alone."""

_ENVIRONMENT = {"DATABASE_URL": "postgresql://unused", "BIGQUERY_PROJECT_ID": "unused"}
"""What the definitions demand when they are imported; they connect to nothing."""


def measure(world: World, samples: Samples) -> None:
    """Measure one round: the seconds of CPU for each of `MODULES`, in a fresh process each."""
    for name, modules in MODULES.items():
        with world.bars.part(f"importing {name}"):
            answer = children.run(world.directory, "benchmarks.imports_process", modules, _ENVIRONMENT)
        samples.add(f"imports.{name}", answer["seconds"])


def warm_up(world: World) -> None:
    """Compile what is imported, before anything is timed."""
    measure(world, Samples())
