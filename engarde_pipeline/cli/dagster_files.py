"""The pipeline's dagster.yaml and workspace.yaml: their paths, and a check that the instance uses the first."""

import os
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import engarde_pipeline
from engarde_pipeline.cli.dagster_home import open_instance
from engarde_pipeline.settings import has_dagster_database

INSTANCE = "dagster.yaml"
WORKSPACE = "workspace.yaml"

CODE_LOCATION = "engarde_pipeline"
"""The name of the code location in both files workspace.yaml."""

MODULE = "engarde_pipeline.definitions"
"""The module that the code server loads."""


def shipped(name: str) -> Path:
    """Return the path of the pipeline's file `name`, in the installed package or at the top of a checkout."""
    package = Path(engarde_pipeline.__file__).parent
    installed = package / name
    return installed if installed.exists() else package.parent / name


def storage_advice() -> str | None:
    """Return what is to be said about the storage of Dagster's history, if anything."""
    home = Path(os.environ["DAGSTER_HOME"])
    if not has_dagster_database():
        return (
            f"Dagster's history is stored in SQLite in {home}, which only the processes of one machine can use. To"
            " store it in Postgres, create a database for it and set DAGSTER_DATABASE_URL to its address, the same"
            " for every process."
        )
    if runs := _runs_in_sqlite(home / "history" / "runs.db"):
        return (
            f"{home / 'history'} has earlier runs in SQLite ({runs:,}), which are not shown, because the history"
            " is in Postgres now. A sync does not need them. To remove this message, delete the directories"
            f" history and schedules in {home}."
        )
    return None


def _runs_in_sqlite(file: Path) -> int:
    if not file.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.Error:
        return 0  # not a history of Dagster's


def missing_features() -> str | None:
    """Return which features of the pipeline's dagster.yaml the instance lacks, and how to add them.

    Raises:
        DagsterUnavailable: dagster.yaml cannot be read, or its storage cannot be used.
    """
    from dagster import QueuedRunCoordinator

    own, used = shipped(INSTANCE), Path(os.environ["DAGSTER_HOME"]) / INSTANCE
    with open_instance() as instance:
        features = {
            "run retries": instance.run_retries_enabled,
            "run monitoring": instance.run_monitoring_enabled,
            "the run queue": isinstance(instance.run_coordinator, QueuedRunCoordinator),
            "tick retention": bool(instance.get_settings("retention")),
            "retries of schedule ticks": getattr(instance.scheduler, "max_tick_retries", 0) > 0,
            "the history in Postgres": not has_dagster_database() or hasattr(instance.run_storage, "postgres_url"),
        }
    off = ", ".join(feature for feature, on in features.items() if not on)
    if not off:
        return None
    if used.exists():
        return (
            f"{used} does not enable: {off}. Compare it with the pipeline's file, {own}, and add what is missing."
        )
    return (
        f"{used} does not exist, so these are off: {off}. Run: cp {shlex.quote(str(own))} {shlex.quote(str(used))}"
    )
