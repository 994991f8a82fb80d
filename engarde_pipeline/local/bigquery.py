"""Starts and stops the BigQuery emulator as a separate process on 127.0.0.1 that keeps its data."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path

from engarde_pipeline.local import processes
from engarde_pipeline.local.errors import LocalServicesError, end_of, extra_missing

_HOST = "127.0.0.1"
_START_TIMEOUT = 60.0

# The emulator requires DuckDB's spatial extension and would download it; it is installed from a wheel instead.
_PROGRAM = (
    "from duckdb_extensions import import_extension; import_extension('spatial');"
    " from bqemulator.cli import main; main()"
)
_ENVIRONMENT = {"BQEMU_ENABLE_FORMAT_EXTENSIONS": "false"}  # for Avro, also a download


@dataclass(frozen=True)
class Emulator:
    """A running emulator: its REST address (`http://host:port`), its Storage API's `host:port`, and its pid."""

    rest_url: str
    grpc_address: str
    pid: int


def start(home: Path) -> Emulator:
    """Start the emulator with its data in `<home>/bigquery`, unless it is running.

    Safe to call again and after a kill -9. It logs to `<home>/bigquery.log`, each start afresh.

    Raises:
        LocalServicesError: it cannot be started; the end of its log is quoted.
    """
    for package in ("bqemulator", "duckdb_extensions", "duckdb_extension_spatial"):
        if find_spec(package) is None:
            raise extra_missing(ModuleNotFoundError(name=package))
    if emulator := find(home):
        _wait_for(emulator, home)
        return emulator
    emulator = _launch(home)
    try:
        _wait_for(emulator, home)
    except BaseException:
        processes.end(emulator.pid)
        raise
    return emulator


def stop(pid: int) -> None:
    """Stop the emulator with this pid; does nothing if the process is not our emulator."""
    if processes.runs(pid, _PROGRAM):
        processes.end(pid)


def find(home: Path) -> Emulator | None:
    """Return the emulator of `home`, or None if there is none; it may not respond yet."""
    for pid in processes.find(_PROGRAM, str(_data_directory(home))):
        arguments = processes.arguments_of(pid)
        with suppress(ValueError, IndexError):
            rest, grpc = (int(arguments[arguments.index(name) + 1]) for name in ("--rest-port", "--grpc-port"))
            return Emulator(f"http://{_HOST}:{rest}", f"{_HOST}:{grpc}", pid)
    return None


def server(home: Path) -> processes.Server | None:
    """Return the emulator of `home`, or None if there is none."""
    emulator = find(home)
    return processes.Server("The BigQuery emulator", emulator.pid, _log(home)) if emulator else None


def answers(rest_url: str, grpc_address: str) -> bool:
    """Whether an emulator responds at these addresses within a few seconds."""
    connection = HTTPConnection(rest_url.removeprefix("http://"), timeout=5)
    host, _, port = grpc_address.partition(":")
    try:
        connection.request("GET", "/healthz")
        healthy = json.load(connection.getresponse())["status"] == "ok"
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()
    return bool(healthy)


def _data_directory(home: Path) -> Path:
    return home.resolve() / "bigquery"


def _log(home: Path) -> Path:
    return home.resolve() / "bigquery.log"


def _launch(home: Path) -> Emulator:
    home.mkdir(parents=True, exist_ok=True)
    rest, grpc = _free_ports()
    with _log(home).open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _PROGRAM, "start", "--rest-host", _HOST, "--grpc-host", _HOST),
                *("--rest-port", str(rest), "--grpc-port", str(grpc), "--log-level", "warning"),
                *("--persistent", "--data-dir", str(_data_directory(home))),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,
        )
    # The process outlives this object on purpose; this prevents a ResourceWarning.
    process.returncode = 0
    return Emulator(f"http://{_HOST}:{rest}", f"{_HOST}:{grpc}", process.pid)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((_HOST, 0))
        other.bind((_HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(emulator: Emulator, home: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not answers(emulator.rest_url, emulator.grpc_address):
        ended = not processes.alive(emulator.pid)
        if ended or time.monotonic() > deadline:
            how = "ended while starting" if ended else f"does not respond after {_START_TIMEOUT:.0f} s"
            raise LocalServicesError(
                f"The BigQuery emulator {how}; its log ends with:\n{end_of(_log(home))}\nIf"
                f" {_data_directory(home)} is not needed anymore, delete that directory and start again."
            )
        time.sleep(0.05)
