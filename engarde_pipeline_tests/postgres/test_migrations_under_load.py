"""Migrations while others use the tables."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from engarde_pipeline.postgres import migrate
from engarde_pipeline.postgres.connection import connect

_MIGRATION_WAITS = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'campaign_metrics'::regclass
"""


@contextmanager
def reading(url: str) -> Iterator[None]:
    """A report that has campaign_metrics open for as long as the block lasts."""
    with connect(url) as connection, connection.transaction():
        connection.execute("SELECT count(*) FROM campaign_metrics")
        yield


def wait_for_the_migration(connection: psycopg.Connection) -> None:
    while connection.execute(_MIGRATION_WAITS).fetchone() == (0,):
        pass


def test_a_reader_that_comes_after_a_waiting_migration_is_let_through(database_url: str) -> None:
    with ThreadPoolExecutor() as pool, connect(database_url) as reader:
        reader.execute("SET statement_timeout = '60s'")
        with reading(database_url):
            migration = pool.submit(migrate.downgrade, database_url, "0002")
            wait_for_the_migration(reader)

            reader.execute("SELECT count(*) FROM campaign_metrics")

            assert not migration.done()
        migration.result()

    assert migrate.current(database_url) == "0002"


def test_a_migration_that_never_gets_its_table_says_so_and_changes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 1)

    with reading(database_url), pytest.raises(migrate.MigrationRefused, match=r"in use.*pg_stat_activity"):
        migrate.downgrade(database_url, "0002")

    assert migrate.current(database_url) == migrate.head()
