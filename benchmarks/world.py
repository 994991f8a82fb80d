"""What is measured on: one embedded Postgres as it comes, a new database for each measure, prepared rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy.engine import make_url

from benchmarks import data
from benchmarks.portfolio import Portfolio, seed
from benchmarks.progress import Bars
from benchmarks.sizes import Size
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate

_TEMPLATE = "seeded"

_LOG_FILES = 64
"""Files of the server's log that are made beforehand, 16 MB each: `min_wal_size` of them are kept.

Otherwise the server removes those that it has not needed lately, and makes them again for whoever writes much
next: some measures would pay for that, and others not.
"""


class World:
    """The server, the prepared rows and the sizes. Everything lies in `directory`."""

    def __init__(self, directory: Path, size: Size, bars: Bars) -> None:
        self.directory = directory
        self.size = size
        self.bars = bars
        self.portfolio = Portfolio(size.tenants, size.campaigns)
        self._server = postgres.start(directory / "server")

    def rows(self, percent: int = 0) -> Path:
        """Return the file of the source rows of which `percent` percent are restated.

        That of 0 and 10 percent has every date, that of the others the dates that peers load.
        """
        return self.directory / f"rows_{percent}.arrow"

    def close(self) -> None:
        """Stop the server."""
        postgres.stop(self.directory / "server")

    def prepare(self) -> None:
        """Make the rows, and the template of all databases: migrated, with tenants and campaigns."""
        dates = dict.fromkeys(data.PERCENTS, self.size.peer_dates)
        dates |= dict.fromkeys((0, 10), max(self.size.dates, self.size.peer_dates))
        with self.bars.part("making source rows", sum(dates.values())) as advance:
            for percent, count in dates.items():
                for _ in data.write(self.rows(percent), self.portfolio, count, percent):
                    advance()
        with connect(self._server) as connection:
            _make_log_files(connection)
            connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
        migrate.upgrade(self._url(_TEMPLATE))
        with connect(self._url(_TEMPLATE)) as connection:
            seed(connection, self.portfolio)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the address of a new database with tenants and campaigns and no metrics; drop it at the end.

        It is at rest. Do not `settle` it before a first load: statistics that say "empty" make Postgres plan
        row-by-row work as scans of the whole table, which no design does.
        """
        name = f"bench_{uuid4().hex}"
        with connect(self._server) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}".encode())
            connection.execute("CHECKPOINT")
        try:
            yield self._url(name)
        finally:
            with connect(self._server) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
                connection.execute("CHECKPOINT")

    @property
    def dagster_database_url(self) -> str:
        """The address of the database with Dagster's history."""
        return postgres.dagster_database_url(self.directory / "server")

    def versions(self) -> str:
        """Return the server's version."""
        with connect(self._server) as connection:
            return str(connection.info.parameter_status("server_version"))

    def _url(self, database: str) -> str:
        return make_url(self._server).set(database=database).render_as_string(hide_password=False)


def settle(connection: psycopg.Connection) -> None:
    """Bring the database to rest, as it is when the next sync comes: vacuumed, its pages written.

    Otherwise each measure would pay for what the one before it left behind.
    """
    connection.execute("VACUUM (ANALYZE)")
    connection.execute("CHECKPOINT")


def _make_log_files(connection: psycopg.Connection) -> None:
    connection.execute(f"ALTER SYSTEM SET min_wal_size = '{16 * _LOG_FILES}MB'".encode())
    connection.execute("SELECT pg_reload_conf()")
    for _ in range(_LOG_FILES):
        connection.execute("SELECT pg_logical_emit_message(false, 'benchmark', 'next file'), pg_switch_wal()")
    connection.execute("CHECKPOINT")


@contextmanager
def opened(path: Path, size: Size, bars: Bars) -> Iterator[World]:
    """Yield a prepared world in the directory `path`."""
    world = World(path, size, bars)
    try:
        world.prepare()
        yield world
    finally:
        world.close()
