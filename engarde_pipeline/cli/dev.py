"""`engarde dev`: runs the Dagster UI and daemon, the REST API and the exporter on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli.dagster_files import WORKSPACE, missing_features, shipped, storage_advice
from engarde_pipeline.cli.exporter import PORT
from engarde_pipeline.cli.servers import sample_servers, set_dagster_home
from engarde_pipeline.cli.terminal import console, errors, handle_interrupts, visible
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import (
    is_embedded,
    is_unconfigured,
    load_api_settings,
    load_pipeline_settings,
    load_settings,
)

_HOST = "127.0.0.1"


class AlreadyRunning(EngardeError):
    """Another `engarde dev` uses the same Dagster instance."""


class PortInUse(EngardeError):
    """The port of the Dagster UI is in use."""


class LockUnusable(EngardeError):
    """The file that shows that `engarde dev` is running cannot be written."""


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the Dagster UI.")] = 3000,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the REST API.")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the exporter.")] = PORT,
) -> None:
    """Start the Dagster UI and daemon, the REST API and the exporter on this machine. Ctrl-C stops them.

    If no server is configured, it also starts a Postgres and a BigQuery emulator with sample data under
    .engarde/. If Postgres and BigQuery are configured, the API is started only if JWT_SECRET_KEY is set.
    """
    address = f"http://{_HOST}:{port}"
    with ExitStack() as stack:
        with_samples = is_unconfigured()
        if not with_samples:
            load_settings()
        set_dagster_home()
        # The embedded default has Dagster's history in its own Postgres, whatever DAGSTER_HOME is.
        home = load_pipeline_settings().engarde_home if with_samples else Path(os.environ["DAGSTER_HOME"])
        lock = stack.enter_context(_only_one(home.absolute(), address))
        _check_port(port)
        if with_samples:
            stack.enter_context(sample_servers(may_exit=False))  # the daemon must be ended, too
        with_api = is_embedded() or bool(os.environ.get("JWT_SECRET_KEY"))
        os.environ["ENGARDE_WEBSERVER_URL"] = address
        os.environ.setdefault("ENGARDE_DAGSTER_URL", address)
        if with_api:
            load_api_settings()  # so that an invalid secret ends the command before anything starts
        for warning in filter(None, (missing_features(), storage_advice())):
            errors.print(f"[bold yellow]Warning:[/] {escape(visible(warning))}")
        console.print("Starting the Dagster UI and daemon ...")
        handle_interrupts()
        # At the level info, the daemon logs two lines per minute and sensor that has nothing to do. Runs log their
        # events at every level.
        dagster = ["dagster", "dev", "-w", str(shipped(WORKSPACE)), "--host", _HOST, "--port", str(port)]
        process = stack.enter_context(_running([*dagster, "--log-level", "warning"], lock))
        _write_lock(lock, address, process.pid)
        running = {"Dagster": process}
        if with_api:
            api = ["engarde_pipeline.cli", "api", "--port", str(api_port)]
            running["The REST API"] = stack.enter_context(_running(api))
        exporter = ["engarde_pipeline.cli", "exporter", "--port", str(metrics_port)]
        running["The exporter"] = stack.enter_context(_running(exporter))
        try:
            name, code = _first_to_end(running, port)
        except KeyboardInterrupt:
            name, code = "", 0
            console.print("Stopping ...")
    if name:
        errors.print(f"[bold red]Error:[/] {name} ended with exit code {code}, so `engarde dev` stops, too.")
        raise typer.Exit(code or 1)


@contextmanager
def _only_one(home: Path, address: str) -> Iterator[IO[str]]:
    """Hold the lock of `engarde dev` on a directory, which the system releases however the process ends.

    Raises:
        AlreadyRunning: another `engarde dev`, or the Dagster daemon that it has left behind, holds it.
    """
    import fcntl

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "dev.lock").open("a+")
    except OSError as error:
        raise LockUnusable(
            f"{home / 'dev.lock'} cannot be written: {error.strerror or error}. Check the permissions and the free"
            " space of the directory."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _already_running(home, lock) from None
        _write_lock(lock, address, os.getpid())
        yield lock


def _already_running(home: Path, lock: IO[str]) -> AlreadyRunning:
    lock.seek(0)
    try:
        holder = json.loads(lock.read())
        pid = next(pid for pid in holder["pids"] if _exists(pid))
    except (json.JSONDecodeError, StopIteration):  # it is starting or ending
        return AlreadyRunning(f"Another `engarde dev` is running on {home}. Use it, or end it first.")
    return AlreadyRunning(
        f"`engarde dev` is already running on {home}: process {pid}, with the Dagster UI at {holder['address']}."
        " A second daemon on the same Dagster instance would start the same syncs. Use it, or end it first: kill"
        f" {pid}"
    )


def _write_lock(lock: IO[str], address: str, dagster: int) -> None:
    lock.seek(0)
    lock.truncate()
    json.dump({"pids": [os.getpid(), dagster], "address": address}, lock)
    lock.flush()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_port(port: int) -> None:
    try:
        socket.create_server((_HOST, port)).close()
    except OSError as error:
        raise PortInUse(
            f"The Dagster UI cannot listen on port {port}: {os.strerror(error.errno or 0)}. Choose another one,"
            f" such as `engarde dev --port {port + 1}`."
        ) from None


@contextmanager
def _running(module: Sequence[str], lock: IO[str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module with its arguments for as long as the block lasts; it holds `lock`, too."""
    inherited = [lock.fileno()] if lock else []
    process = subprocess.Popen([sys.executable, "-m", *module], pass_fds=inherited)  # noqa: S603  fixed arguments
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # `dagster dev` shuts down the UI, the daemon and the code server
        process.wait()


def _first_to_end(running: dict[str, subprocess.Popen[bytes]], port: int) -> tuple[str, int]:
    """Wait until one of the processes has ended, and return its name and exit code; say when the UI is ready."""
    is_ready = False
    while True:
        for name, process in running.items():
            if (code := process.poll()) is not None:
                return name, code
        if not is_ready and _is_listening(port):
            is_ready = True
            console.print(
                f"The Dagster UI is at [bold]http://{_HOST}:{port}[/]. To sync dates there, choose Catalog,"
                " campaign_metrics, Materialize, and a range of dates. Press Ctrl-C to stop."
            )
        time.sleep(0.2)


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
