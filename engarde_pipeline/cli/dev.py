"""`engarde dev`: the Dagster UI and daemon, on the embedded default or on what is configured."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from engarde_pipeline.cli.servers import first_sample_date, sample_servers, set_dagster_home
from engarde_pipeline.cli.terminal import console, hear_interrupts
from engarde_pipeline.settings import is_embedded, is_unconfigured, load_settings


def dev(
    port: Annotated[int, typer.Option(help="The UI's port on this machine.")] = 3000,
    api_port: Annotated[int, typer.Option(help="The REST API's port on this machine.")] = 8000,
) -> None:
    """Start the Dagster UI and daemon and the REST API; with nothing configured also a Postgres and a BigQuery
    emulator with sample data. Ends with Ctrl-C, and stops what it started.

    Where Postgres and BigQuery are configured, the API starts if JWT_SECRET_KEY is, too.
    """
    with ExitStack() as stack:
        if is_unconfigured():
            stack.enter_context(sample_servers())
            # Partitions begin where the sample data does, so that the UI is not full of missing years.
            os.environ.setdefault("ENGARDE_FIRST_DATE", str(first_sample_date()))
        else:
            load_settings()
        set_dagster_home()
        console.print(
            f"The Dagster UI opens at [bold]http://127.0.0.1:{port}[/]: choose Assets, campaign_metrics,"
            " Materialize, and a range of dates. Ctrl-C ends it."
        )
        hear_interrupts()
        command = ["dagster", "dev", *_workspace(), "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen([sys.executable, "-m", *command])  # noqa: S603  fixed arguments
        if is_embedded() or os.environ.get("JWT_SECRET_KEY"):
            stack.enter_context(_api(api_port))
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it shuts down the UI, the daemon and the code server
            code = process.wait()
    raise typer.Exit(code)


@contextmanager
def _api(port: int) -> Iterator[None]:
    command = ["engarde_pipeline.cli", "api", "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", *command])  # noqa: S603  fixed arguments
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _workspace() -> list[str]:
    if Path("workspace.yaml").exists():
        return ["-w", "workspace.yaml"]
    return ["-m", "engarde_pipeline.definitions"]
