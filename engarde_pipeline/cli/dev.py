"""`engarde dev`: runs the Dagster UI and daemon, the REST API and the exporter on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import typer

from engarde_pipeline.cli.dagster_files import WORKSPACE, missing_features, shipped, storage_advice
from engarde_pipeline.cli.exporter import PORT
from engarde_pipeline.cli.page import has_links, new_link
from engarde_pipeline.cli.ports import Port, check_ports
from engarde_pipeline.cli.readiness import (
    Service,
    dagster_is_ready,
    first_to_end,
    responds,
    wait_until_ready,
)
from engarde_pipeline.cli.servers import sample_servers, set_dagster_home
from engarde_pipeline.cli.terminal import announce, handle_interrupts, print_error, print_warning
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import (
    is_unconfigured,
    load_api_settings,
    load_pipeline_settings,
    load_settings,
)
from engarde_pipeline.telemetry import configure_telemetry
from engarde_pipeline.telemetry.logs import is_json

_HOST = "127.0.0.1"
_STARTING_DAGSTER = "Starting the Dagster UI and daemon ..."


class AlreadyRunning(EngardeError):
    """Another `engarde dev` uses the same Dagster instance."""


class LockUnusable(EngardeError):
    """The file that shows that `engarde dev` is running cannot be written."""


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the Dagster UI.")] = 3000,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the REST API.")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the exporter.")] = PORT,
) -> None:
    """Start the pages, Dagster's UI and daemon, the REST API and the exporter on this machine. Ctrl-C stops them.

    If no server is configured, it also starts a Postgres and a BigQuery emulator with sample data under
    .engarde/, and prints a link that logs in to the pages (`engarde page` prints another). If Postgres and
    BigQuery are configured, the API, which serves the pages, is started only if JWT_SECRET_KEY is set.
    """
    configure_telemetry("engarde-dev")
    address = f"http://{_HOST}:{port}"
    with ExitStack() as stack:
        with_samples = is_unconfigured()
        if not with_samples:
            load_settings()
        set_dagster_home()
        # The embedded default has Dagster's history in its own Postgres, whatever DAGSTER_HOME is.
        home = load_pipeline_settings().engarde_home if with_samples else Path(os.environ["DAGSTER_HOME"])
        lock = stack.enter_context(_only_one(home.absolute(), address))
        with_api = with_samples or bool(os.environ.get("JWT_SECRET_KEY"))
        ports = [Port(port, "The Dagster UI", "--port"), Port(metrics_port, "The exporter", "--metrics-port")]
        if with_api:
            ports.insert(1, Port(api_port, "The REST API", "--api-port"))
        check_ports("engarde dev", _HOST, ports)
        if with_samples:
            stack.enter_context(sample_servers(may_exit=False))  # the daemon must be ended, too
        os.environ["ENGARDE_WEBSERVER_URL"] = address
        os.environ.setdefault("ENGARDE_DAGSTER_URL", address)
        if with_api:
            load_api_settings()  # so that an invalid secret ends the command before anything starts
        for warning in filter(None, (missing_features(), storage_advice())):
            print_warning(warning)
        announce("Starting the Dagster UI and daemon, and the REST API ..." if with_api else _STARTING_DAGSTER)
        handle_interrupts()
        log_format = "json" if is_json() else "colored"
        # At the level info, Dagster logs what its processes do. Runs log their events at every level.
        dagster = ["engarde_pipeline.cli.dagster_dev", "dev", "-w", str(shipped(WORKSPACE)), "--host", _HOST]
        options = ["--port", str(port), "--log-level", "warning", "--log-format", log_format]
        process = stack.enter_context(_running([*dagster, *options], lock))
        _write_lock(lock, address, process.pid)
        running = [Service("Dagster", process, "Dagster UI", address, partial(dagster_is_ready, address))]
        if with_api:
            running.append(_service(stack, "REST API", "api", api_port, "/docs", "/health/ready"))
        running.append(_service(stack, "Metrics", "exporter", metrics_port, "/metrics", "/health/live"))
        try:
            page = f"http://{_HOST}:{api_port}"
            link = partial(new_link, page) if has_links() else None
            wait_until_ready(running, f"{page}/" if with_api else None, link)
            name, code = first_to_end(running)
        except KeyboardInterrupt:
            name, code = "", 0
            announce("Stopping ...")
    if name:
        print_error(EngardeError(f"{name} ended with exit code {code}, so `engarde dev` stops, too."))
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


def dagster_url() -> str:
    """Return the Dagster UI's address for links: ENGARDE_DAGSTER_URL, or else that of a running `engarde dev`."""
    settings = load_pipeline_settings()
    if not os.environ.get("ENGARDE_DAGSTER_URL"):
        for home in (settings.engarde_home, Path(os.environ.get("DAGSTER_HOME") or settings.engarde_home)):
            with suppress(OSError, json.JSONDecodeError):
                holder = json.loads((home / "dev.lock").read_text())
                if any(map(_exists, holder["pids"])):
                    return str(holder["address"])
    return settings.engarde_dagster_url


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _service(stack: ExitStack, serves: str, command: str, port: int, path: str, health: str) -> Service:
    """Start a command of the command line, which serves something at `path`, until the end of `stack`."""
    module = ["engarde_pipeline.cli", command, "--port", str(port)]
    process = stack.enter_context(_running(module, quiet=not is_json()))
    address = f"http://{_HOST}:{port}"
    return Service(f"`engarde {command}`", process, serves, address + path, partial(responds, address + health))


@contextmanager
def _running(
    module: Sequence[str], lock: IO[str] | None = None, *, quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module with its arguments for as long as the block lasts; it holds `lock`, too.

    With `quiet`, only its log is shown, on the standard error, and not what it says when it starts.
    """
    inherited = [lock.fileno()] if lock else []
    process = subprocess.Popen(  # noqa: S603  fixed arguments
        [sys.executable, "-m", *module], pass_fds=inherited, stdout=subprocess.DEVNULL if quiet else None
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # `dagster dev` shuts down the UI, the daemon and the code server
        process.wait()
