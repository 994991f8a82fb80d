"""Runs the embedded default: both servers, whose addresses are in `<home>/services.json` while they run.

One process at a time owns the servers of a home, by a lock that the system frees even when the process
is killed. Whoever comes second uses what the owner runs. Whoever comes after an owner that was killed
inherits its servers, and stops them in its place.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import psycopg

from engarde_pipeline.local import bigquery, postgres
from engarde_pipeline.local.errors import LocalServicesError
from engarde_pipeline.local.processes import Server
from engarde_pipeline.settings import services_file

PROJECT_ID = "engarde-local"

_START_TIMEOUT = 120.0


@contextmanager
def running(home: Path) -> Iterator[dict[str, str]]:
    """Run the local services for the duration of the context; yield their environment variables.

    What is already running is used as it is; on leaving, however it comes about, only what was started
    (or inherited) here is stopped, and the announcement removed with it. Data stays in `home`.

    Returns:
        DATABASE_URL, DAGSTER_DATABASE_URL, BIGQUERY_PROJECT_ID, BIGQUERY_EMULATOR_HOST and
        BIGQUERY_STORAGE_EMULATOR_HOST.

    Raises:
        LocalServicesError: a service cannot be started, its owner keeps it from answering, or `home` is unusable.
    """
    home = home.resolve()
    with ExitStack() as stack:
        deadline = time.monotonic() + _START_TIMEOUT
        while (lock := _take_lock(home)) is None:
            services = _announced(home)
            if services and _can_be_used(home, services):
                yield services
                return
            if time.monotonic() > deadline:
                raise LocalServicesError(
                    f"Another process holds {_lock_file(home)}, but the local services do not respond."
                    f" See {home / 'bigquery.log'}, end that process and start again."
                )
            time.sleep(0.2)
        stack.enter_context(lock)
        yield _start(home, stack)


def servers_of(home: Path) -> list[Server]:
    """Return the servers of `home` that are running, whichever process started them."""
    found = (postgres.server(home), bigquery.server(home))
    return [server for server in found if server is not None]


def _start(home: Path, stack: ExitStack) -> dict[str, str]:
    # Each stop is registered before its start, because an interrupt can occur during the start.
    announcement = services_file(home)
    inherited = announcement.exists()
    if inherited or not postgres.is_running(home):
        stack.callback(postgres.stop, home)
    if inherited or not bigquery.find(home):
        stack.callback(_stop_emulator, home)
    stack.callback(announcement.unlink, missing_ok=True)
    database_url = postgres.start(home)
    with _directory_errors(home):
        emulator = bigquery.start(home)
    services = {
        "DATABASE_URL": database_url,
        "DAGSTER_DATABASE_URL": postgres.dagster_database_url(home),
        "BIGQUERY_PROJECT_ID": PROJECT_ID,
        "BIGQUERY_EMULATOR_HOST": emulator.rest_url,
        "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.grpc_address,
    }
    # Renamed when complete, so that readers never see a part of it.
    unfinished = announcement.with_suffix(".unfinished")
    with _directory_errors(home):
        unfinished.write_text(json.dumps(services, indent=2))
        unfinished.replace(announcement)
    return services


def _stop_emulator(home: Path) -> None:
    if emulator := bigquery.find(home):
        bigquery.stop(emulator.pid)


def _take_lock(home: Path) -> IO[str] | None:
    if sys.platform == "win32":
        raise LocalServicesError(
            "The local services run on Linux and macOS. Use WSL, or set BIGQUERY_PROJECT_ID and DATABASE_URL"
            " to real servers."
        )
    import fcntl

    with _directory_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = _lock_file(home).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


@contextmanager
def _directory_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalServicesError(
            f"The directory of the local services, {home}, cannot be used: {error.strerror or error}. Make it a"
            " directory that you can write to, with free space, or set ENGARDE_HOME to another one."
        ) from None


def _lock_file(home: Path) -> Path:
    return home / "services.lock"


def _announced(home: Path) -> dict[str, str]:
    try:
        return dict(json.loads(services_file(home).read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _can_be_used(home: Path, services: dict[str, str]) -> bool:
    """Return whether Postgres responds and the announced emulator runs.

    An emulator that runs without responding is an outage of BigQuery, which each command reports in its own way.
    """
    try:
        psycopg.connect(services["DATABASE_URL"], connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    emulator = bigquery.find(home)
    return emulator is not None and emulator.rest_url == services["BIGQUERY_EMULATOR_HOST"]
