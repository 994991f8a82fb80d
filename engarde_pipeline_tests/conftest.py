"""Fixtures: servers once per test process, a database and a dataset of its own for every test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dagster import DagsterInstance
from psycopg import sql
from sqlalchemy.engine import make_url

from engarde_pipeline.cli.terminal import handle_interrupts
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.settings import ApiSettings, WorkerSettings
from engarde_pipeline_tests import servers
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

# What touches SQL runs on every server there is; the layers above only on the embedded one.
_ON_EVERY_SERVER = ("postgres", "sync")

# A database is created and dropped for every test, each of which would otherwise wait for the disk. A test about
# crashes starts a server of its own.
_WITHOUT_CRASH_SAFETY = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}

_IN_MEMORY = Path("/dev/shm")  # noqa: S108  for a directory that only this user can read
"""Linux' file system in memory, on which a database is created ten times as fast."""

_BYTES_NEEDED = 4 * 1024**3

NAMED_SERVERS = {"BIGQUERY_PROJECT_ID": "nowhere", "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing"}
"""Servers that nobody connects to."""

NewRole = Callable[..., str]

FIRST_DATE = "2026-01-01"
"""The first partition. With years of partitions, Dagster would spend a tenth of a run listing them."""


def pytest_configure() -> None:
    # Tests started in the background would ignore Ctrl-C, Dagster's runs in them then SIGTERM as well, and the
    # processes that these start could no longer be ended.
    handle_interrupts()
    # The definitions, which tests import as they are collected, do not load without; no test sees these.
    for name, value in {**NAMED_SERVERS, "ENGARDE_FIRST_DATE": FIRST_DATE}.items():
        os.environ.setdefault(name, value)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres_server" in metafunc.fixturenames:
        names: list[Any] = [servers.EMBEDDED]
        if metafunc.definition.path.parent.name in _ON_EVERY_SERVER:
            names.append(pytest.param(servers.INSTALLED, marks=pytest.mark.long))
        metafunc.parametrize("postgres_server", names, indirect=True, scope="session")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests reaches them; the first date is that of the definitions."""
    for name in (
        *(field.upper() for kind in (ApiSettings, WorkerSettings) for field in kind.model_fields),
        "DAGSTER_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGARDE_FIRST_DATE", FIRST_DATE)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with servers.emulator(tmp_path_factory.mktemp("bigquery")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server's administrative database; its template `migrated` has every migration."""
    run = servers.embedded_server if request.param == servers.EMBEDDED else servers.installed_server
    # Not under pytest's own directory: any other pytest that starts locks the server's user out of that.
    with (
        TemporaryDirectory(prefix=f"engarde-{request.param}-", dir=_fast_directory()) as directory,
        run(Path(directory)) as url,
    ):
        with connect(url) as connection:
            for setting, value in _WITHOUT_CRASH_SAFETY.items():
                connection.execute(f"ALTER SYSTEM SET {setting} = '{value}'".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE migrated")
        migrate.upgrade(_database(url, "migrated"))
        yield url


def _fast_directory() -> Path | None:
    """A directory in memory if it has enough room; containers often have little."""
    has_room = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _BYTES_NEEDED
    return _IN_MEMORY if has_room else None


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """A database without any table."""
    yield from new_database(postgres_server, "template0")


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """A database with the current schema and no rows."""
    yield from new_database(postgres_server, "migrated")


@pytest.fixture
def new_role(database_url: str) -> Iterator[NewRole]:
    """`new_role(setting="value", ...)` returns the address of a new role with these settings."""
    with connect(database_url) as owner:
        made = []

        def new(attributes: str = "SUPERUSER", **settings: str) -> str:
            role = f"role_{uuid4().hex}"
            owner.execute(f"CREATE ROLE {role} LOGIN {attributes}".encode())
            made.append(role)
            for name, value in settings.items():
                owner.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(sql.Identifier(role), sql.Identifier(name), value)
                )
            return make_url(database_url).set(username=role).render_as_string(hide_password=False)

        yield new
        for role in made:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as opened:
        yield opened


@pytest.fixture
def world(database_url: str, emulator: Emulator) -> Iterator[World]:
    made = World(database_url, emulator)
    yield made
    made.close()


@pytest.fixture(scope="session")
def dagster_template(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database for Dagster's history that has every table and no rows, to be copied."""
    home = tmp_path_factory.mktemp("dagster")
    write_dagster_yaml(home)
    with connect(postgres_server) as connection, pytest.MonkeyPatch.context() as environment:
        connection.execute("CREATE DATABASE history")
        environment.setenv("DAGSTER_DATABASE_URL", _database(postgres_server, "history"))
        with DagsterInstance.from_config(str(home)) as instance:
            instance.get_runs()
        # Its pools keep connections, and a database is copied only while there are none.
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'history'")
    return "history"


@pytest.fixture
def dagster_database_url(postgres_server: str, dagster_template: str) -> Iterator[str]:
    """A database for Dagster's history, without runs."""
    yield from new_database(postgres_server, dagster_template)


@pytest.fixture
def configured(world: World, dagster_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """The world, named by the environment as in production, with a Dagster home of its own."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", dagster_database_url)
    home = tmp_path / "dagster"
    home.mkdir()
    write_dagster_yaml(home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("ENGARDE_HOME", str(tmp_path / "engarde"))
    return world


@pytest.fixture
def instance(configured: World) -> Iterator[DagsterInstance]:
    """A real Dagster instance with its history in Postgres."""
    with DagsterInstance.get() as opened:
        yield opened


@pytest.fixture
def shop(configured: World) -> Shop:
    return Shop(configured)


def write_dagster_yaml(home: Path) -> None:
    """Write the pipeline's dagster.yaml; without it, Dagster sends telemetry."""
    shutil.copy(Path(__file__).parents[1] / "dagster.yaml", home)


def new_database(server: str, template: str) -> Iterator[str]:
    """Yield the address of a database that is copied from `template`, and drop it afterwards."""
    name = f"test_{uuid4().hex}"
    with connect(server) as connection:
        # Copied as files, since writing the template to the log, as is the default, takes longer.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY".encode())
        yield _database(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)
