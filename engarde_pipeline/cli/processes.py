"""`engarde code-server`, `engarde ui` and `engarde daemon`: start Dagster's processes for production."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from engarde_pipeline.cli.dagster_files import CODE_LOCATION, MODULE
from engarde_pipeline.cli.terminal import announce, handle_interrupts
from engarde_pipeline.cli.workspace import (
    CodeServerUnreachable,
    check_code_server,
    code_servers,
    require_service,
    workspace_file,
)
from engarde_pipeline.settings import CodeServerSettings, ServiceSettings
from engarde_pipeline.telemetry.logs import configure_logs, is_json

_RPC_GRACE_SECONDS = "20"

_CODE_SERVER_SECONDS = 300
"""How long the daemon waits for the code server before it gives up."""

_POLL_SECONDS = 2


def code_server(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",  # noqa: S104  for containers
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 4000,
) -> None:
    """Start the code server, which loads the pipeline and runs it for the Dagster UI and daemon.

    On SIGTERM, its runs finish the dates that they are at; the rest is synced by their retries. This takes
    seconds, and at most two minutes, which is the grace period to configure. The server has no authentication:
    only the Dagster UI and daemon may reach it.
    """
    configure_logs()
    require_service(CodeServerSettings, with_workspace=False)
    # How long calls, such as the evaluation of a sensor, may take after SIGTERM.
    os.environ.setdefault("DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD", _RPC_GRACE_SECONDS)
    # Not `dagster code-server start`, which ends at SIGTERM without waiting for its runs.
    server = ["api", "grpc", "--host", host, "--port", str(port), "--module-name", MODULE]
    options = ["--location-name", CODE_LOCATION, "--empty-working-directory", *_log_options()]
    sys.exit(_run_as_group([_program("dagster"), *server, *options]))


def ui(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 3000,
) -> None:
    """Start the Dagster UI and its GraphQL API, with workspace.yaml in DAGSTER_HOME.

    It has no login: put a reverse proxy with one in front of it before you listen on another address.
    """
    configure_logs()
    require_service(ServiceSettings, with_workspace=True)
    address = ["--host", host, "--port", str(port)]
    _replace_by("dagster-webserver", "-w", str(workspace_file()), *address, *_log_options())


def daemon() -> None:
    """Start the Dagster daemon (the run queue, sensors, schedules, backfills and retries); exactly one must run.

    It waits for the code server first: Dagster gives up the retry of a run if the code server is not reachable.
    """
    configure_logs()
    require_service(ServiceSettings, with_workspace=True)
    _wait_for_code_servers()
    # Otherwise, a backfill that is looked at while the code server restarts fails for good, with all its runs.
    os.environ.setdefault("DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "1")
    _replace_by("dagster-daemon", "run", "-w", str(workspace_file()), *_log_options())


def _wait_for_code_servers() -> None:
    deadline = time.monotonic() + _CODE_SERVER_SECONDS
    for server in code_servers():
        is_announced = False
        while True:
            try:
                check_code_server(server)
                break
            except CodeServerUnreachable:
                if time.monotonic() > deadline:
                    raise
            if not is_announced:
                announce(f"Waiting for the code server at {server.host}:{server.port} ...")
                is_announced = True
            time.sleep(_POLL_SECONDS)


def _log_options() -> list[str]:
    # Until Dagster opens its storage, which configures our log; for a code server, until it loads the pipeline.
    return ["--log-format", "json"] if is_json() else []


def _program(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


def _replace_by(name: str, *arguments: str) -> None:
    """Replace this process by a program of Dagster's, which then receives all signals."""
    handle_interrupts()  # a shell starts background commands with SIGINT ignored, which would be inherited
    sys.stdout.flush()
    os.execv(_program(name), [name, *arguments])  # noqa: S606  fixed programs


def _run_as_group(command: list[str]) -> int:
    """Run a command until it ends; pass the first SIGTERM or Ctrl-C on to it and to all that it has started.

    A container sends SIGTERM only to its first process. The runs of a code server, which are its child processes,
    would never receive it.
    """
    started: list[subprocess.Popen[bytes]] = []
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if not received and started:
            os.killpg(started[0].pid, signal.SIGTERM)
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    started.append(subprocess.Popen(command, process_group=0))  # noqa: S603  fixed arguments
    if received:  # before the process had been started
        started[0].terminate()
    code = started[0].wait()
    return code if code >= 0 else 128 - code
