"""`engarde worker`: executes runs that the daemon hands out through redis."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from engarde_pipeline.cli.dagster_home import open_instance
from engarde_pipeline.cli.terminal import announce
from engarde_pipeline.cli.workspace import require_service
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.settings import WorkerSettings
from engarde_pipeline.telemetry import configure_telemetry

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from engarde_pipeline.celery_launcher import CeleryRunLauncher


class WorkerUnusable(EngardeError):
    """A worker would get no runs."""


def worker(
    concurrency: Annotated[
        int, typer.Option(min=1, help="The number of runs that are executed at the same time.")
    ] = 1,
    name: Annotated[
        str,
        typer.Option(help="The name of the worker; must differ between the workers of a machine."),
    ] = "engarde",
    queue: Annotated[
        str | None,
        typer.Option(help="The queue from which runs are taken. Default: that of dagster.yaml."),
    ] = None,
) -> None:
    """Execute runs that Dagster's daemon hands out through redis; start it on as many machines as needed.

    DAGSTER_HOME must contain a dagster.yaml with the block of deploy/run-launcher-celery.yaml. ENGARDE_BROKER_URL,
    DAGSTER_DATABASE_URL, DATABASE_URL and BIGQUERY_PROJECT_ID must be set. On SIGTERM it takes no more runs; those
    that it executes are interrupted, and Dagster retries their remaining dates elsewhere.

    Example: `engarde worker --concurrency 2`
    """
    require_service(WorkerSettings, with_workspace=False)
    configure_telemetry("engarde-worker")
    with open_instance() as instance:
        launcher = celery_launcher(instance)
        announce(_slots(instance, launcher, concurrency))
    # The connections to Dagster's database are closed by now: the processes of runs must not share them.
    _import_definitions()
    raise typer.Exit(launcher.run_worker(name, concurrency, queue))


def celery_launcher(instance: "DagsterInstance") -> "CeleryRunLauncher":
    """Return the run launcher of an instance whose runs are executed by workers.

    Raises:
        WorkerUnusable: dagster.yaml names another run launcher, or the extra `distributed` is not installed.
    """
    from engarde_pipeline.celery_launcher import CeleryRunLauncher

    launcher = instance.run_launcher
    if isinstance(launcher, CeleryRunLauncher):
        return launcher
    raise WorkerUnusable(
        f"The run launcher in {os.environ['DAGSTER_HOME']}/dagster.yaml is {type(launcher).__name__}, so no runs"
        " would be handed to a worker. Replace it with the block of deploy/run-launcher-celery.yaml, which"
        " `engarde init --launcher celery` writes."
    )


def slots_of(launcher: "CeleryRunLauncher") -> dict[str, int]:
    """Return how many runs each worker that responds can execute at the same time.

    Raises:
        WorkerUnusable: redis cannot be reached.
    """
    from kombu.exceptions import OperationalError

    try:
        return launcher.slots()
    except OperationalError as error:
        raise WorkerUnusable(
            f"redis cannot be reached: {error}. Check ENGARDE_BROKER_URL and that redis accepts this login."
        ) from None


def _slots(instance: "DagsterInstance", launcher: "CeleryRunLauncher", concurrency: int) -> str:
    others = sum(slots_of(launcher).values())
    total = concurrency + others
    run_queue = instance.get_concurrency_config().run_queue_config
    maximum = run_queue.max_concurrent_runs if run_queue else 0
    text = f"This worker executes {counted(concurrency, 'run')} at a time, the workers that run already {others}."
    if maximum <= total:
        return text
    return (
        f"{text} dagster.yaml allows {maximum} concurrent runs (max_concurrent_runs): start workers for"
        f" {maximum - total} more, or reduce it to {total}. Otherwise runs wait in redis, and those that wait for"
        " longer than start_timeout_seconds are marked as failed."
    )


def _import_definitions() -> None:
    from engarde_pipeline.definitions import defs

    defs.get_repository_def()
