"""`engarde dev`: runs the Dagster UI and daemon and the REST API on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli.dagster_files import WORKSPACE, missing_features, shipped, storage_advice
from engarde_pipeline.cli.servers import first_sample_date, sample_servers, set_dagster_home
from engarde_pipeline.cli.terminal import console, errors, handle_interrupts, visible
from engarde_pipeline.settings import is_embedded, is_unconfigured, load_api_settings, load_settings


def dev(
    port: Annotated[int, typer.Option(help="The port of the Dagster UI.")] = 3000,
    api_port: Annotated[int, typer.Option(help="The port of the REST API.")] = 8000,
) -> None:
    """Start the Dagster UI, the Dagster daemon and the REST API on this machine. Ctrl-C stops them.

    If no server is configured, it also starts a Postgres and a BigQuery emulator with sample data under
    .engarde/. If Postgres and BigQuery are configured, the API is started only if JWT_SECRET_KEY is set.
    """
    with ExitStack() as stack:
        if is_unconfigured():
            stack.enter_context(sample_servers())
            # The partitions start with the sample data, so that the UI does not show years of missing dates.
            os.environ.setdefault("ENGARDE_FIRST_DATE", str(first_sample_date()))
        else:
            load_settings()
        with_api = is_embedded() or bool(os.environ.get("JWT_SECRET_KEY"))
        os.environ["ENGARDE_WEBSERVER_URL"] = f"http://127.0.0.1:{port}"
        os.environ.setdefault("ENGARDE_DAGSTER_URL", os.environ["ENGARDE_WEBSERVER_URL"])
        if with_api:
            load_api_settings()  # so that an invalid secret ends the command before anything starts
        set_dagster_home()
        for warning in filter(None, (missing_features(), storage_advice())):
            errors.print(f"[bold yellow]Warning:[/] {escape(visible(warning))}")
        console.print(
            f"The Dagster UI will be at [bold]http://127.0.0.1:{port}[/]. To sync dates there, choose Assets,"
            " campaign_metrics, Materialize, and a range of dates. Press Ctrl-C to stop."
        )
        handle_interrupts()
        dagster = ["dagster", "dev", "-w", str(shipped(WORKSPACE)), "--host", "127.0.0.1", "--port", str(port)]
        running = {"Dagster": stack.enter_context(_running(dagster))}
        if with_api:
            api = ["engarde_pipeline.cli", "api", "--port", str(api_port)]
            running["The REST API"] = stack.enter_context(_running(api))
        try:
            name, code = _first_to_end(running)
        except KeyboardInterrupt:
            name, code = "", 0
    if name:
        errors.print(f"[bold red]Error:[/] {name} ended with exit code {code}, so `engarde dev` stops, too.")
        raise typer.Exit(code or 1)


@contextmanager
def _running(module: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module with its arguments for as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", *module])  # noqa: S603  fixed arguments
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # `dagster dev` shuts down the UI, the daemon and the code server
        process.wait()


def _first_to_end(running: dict[str, subprocess.Popen[bytes]]) -> tuple[str, int]:
    """Wait until one of the processes has ended, and return its name and exit code."""
    while True:
        for name, process in running.items():
            if (code := process.poll()) is not None:
                return name, code
        time.sleep(0.2)
