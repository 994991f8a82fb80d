"""Fixtures: the API, Dagster's webserver, and the heartbeat of a daemon; the tests execute the runs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat

from engarde_pipeline.cli.dagster_files import WORKSPACE, shipped
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline_tests.api.service import Service, free_port, serving, settings
from engarde_pipeline_tests.conftest import FIRST_DATE, NAMED_SERVERS, new_database, write_dagster_yaml
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.world import World

_KEPT = ("alembic_version", "secondary_indexes", "instance_info")
"""The tables of Dagster that say which migrations a database has."""


@pytest.fixture(scope="session")
def shared_history(postgres_server: str, dagster_template: str) -> Iterator[str]:
    """A database for Dagster's history that the webserver uses as long as the test process lives."""
    yield from new_database(postgres_server, dagster_template)


@pytest.fixture
def dagster_database_url(shared_history: str) -> str:
    """The webserver's database, without runs."""
    with connect(shared_history) as connection:
        tables = connection.execute(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL(%s)",
            [list(_KEPT)],
        )
        truncate = f"TRUNCATE {', '.join(name for (name,) in tables)} CASCADE".encode()
        eventually(lambda: _truncated(connection, truncate), "the webserver is done with the requests before")
    return shared_history


def _truncated(connection: "psycopg.Connection[Any]", truncate: bytes) -> bool:
    """Truncate, unless a request that its test did not wait for is still starting its run."""
    others = connection.execute(
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    if others.fetchone():
        return False
    try:
        connection.execute(truncate)
    except psycopg.errors.DeadlockDetected:
        return False
    return True


@pytest.fixture(scope="session")
def webserver_url(shared_history: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Dagster's webserver, with the code location of workspace.yaml."""
    home = tmp_path_factory.mktemp("webserver")
    write_dagster_yaml(home)
    environment = {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DATABASE_URL": shared_history,
        "ENGARDE_FIRST_DATE": FIRST_DATE,
    }
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-w", str(shipped(WORKSPACE)), "-p", str(port)]
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **NAMED_SERVERS, **environment}, stdout=output, stderr=output
        )
        try:
            eventually(lambda: _serves(port, process, log), "Dagster's webserver starts")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _serves(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def daemon(instance: DagsterInstance) -> None:
    """The heartbeat of a daemon that lives: queued runs stay queued until the test executes them."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "QUEUED_RUN_COORDINATOR", str(uuid4()), []))


@pytest.fixture
def api(configured: World, instance: DagsterInstance, daemon: None, webserver_url: str) -> Iterator[Service]:
    values = {"api_rate_limit": "1000000/minute", "engarde_webserver_url": webserver_url}
    with serving(settings(configured.database_url, **values), instance) as service:
        yield service
