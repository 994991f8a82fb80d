"""`engarde dev`: the Dagster UI and daemon, on the embedded default or on what is configured."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from engarde_pipeline.cli.servers import sample_servers, set_dagster_home
from engarde_pipeline.cli.terminal import console
from engarde_pipeline.settings import is_embedded, load_settings


def dev(
    port: Annotated[int, typer.Option(help="The UI's port on this machine.")] = 3000,
) -> None:
    """Start the Dagster UI and daemon; with nothing configured also a Postgres and a BigQuery emulator with
    sample data. Ends with Ctrl-C, and stops what it started.
    """
    with ExitStack() as stack:
        if is_embedded():
            stack.enter_context(sample_servers())
        else:
            load_settings()
        set_dagster_home()
        console.print(
            f"The Dagster UI opens at [bold]http://127.0.0.1:{port}[/]: choose Assets, campaign_metrics,"
            " Materialize, and a range of dates. Ctrl-C ends it."
        )
        process = subprocess.Popen(  # noqa: S603  our own interpreter, fixed arguments
            [
                sys.executable,
                "-m",
                "dagster",
                "dev",
                *_workspace(),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ]
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait()  # Ctrl-C reached it too, and it shuts down its own children
    raise typer.Exit(code)


def _workspace() -> list[str]:
    if Path("workspace.yaml").exists():
        return ["-w", "workspace.yaml"]
    return ["-m", "engarde_pipeline.definitions"]
