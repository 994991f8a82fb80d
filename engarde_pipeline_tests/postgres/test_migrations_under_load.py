"""Migrations while others use the tables."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from threading import Event

import psycopg
import pytest

from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.schema.refusals import MigrationRefused
from engarde_pipeline.sync.dates import FailedDate
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

_MIGRATION_WAITS = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'campaign_metrics'::regclass
"""


DAYS = date(2026, 3, 1), date(2026, 3, 2)


OLDER_SCHEMA = psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn
"""What a sync meets that began before the schema was migrated down; a later one is refused at its start."""


class Busy:
    """How often was synced and read, and which dates failed for another reason than the older schema."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.over = Event()
        self.syncs = self.reads = 0
        self.failed: list[FailedDate] = []
        self.threads: list[Future[None]] = []

    def sync(self) -> None:
        """Write every row of both dates, again and again."""
        with connect(self.world.database_url) as connection:
            while not self.over.is_set():
                connection.execute("UPDATE campaign_metrics SET clicks = clicks + 1")
                with suppress(*OLDER_SCHEMA):
                    failed = [each for each in self.world.sync(*DAYS) if isinstance(each, FailedDate)]
                    self.failed += [each for each in failed if not isinstance(each.error, OLDER_SCHEMA)]
                    self.syncs += not failed

    def read(self) -> None:
        """Read as a dashboard does, which gives up after some seconds."""
        with connect(self.world.database_url) as connection:
            connection.execute("SET statement_timeout = '10s'")
            while not self.over.wait(0.01):
                (rows,) = connection.execute("SELECT count(*) FROM campaign_metrics").fetchone() or ()
                assert rows == 4
                self.reads += 1

    def reads_go_on(self) -> None:
        """Wait until the reader has been at work again."""
        reads = self.reads
        eventually(lambda: self._none_has_crashed() and self.reads >= reads + 2, "a reader that goes on", 60)

    def syncs_go_on(self) -> None:
        """Wait until both dates have been synced again."""
        syncs = self.syncs
        eventually(lambda: self._none_has_crashed() and self.syncs >= syncs + 2, "syncs that go on", 60)

    def _none_has_crashed(self) -> bool:
        for thread in self.threads:
            if thread.done():
                thread.result()
        return True


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

    with reading(database_url), pytest.raises(MigrationRefused, match=r"in use.*pg_stat_activity"):
        migrate.downgrade(database_url, "0002")

    assert migrate.current(database_url) == migrate.head()


@contextmanager
def busy(world: World) -> Iterator[Busy]:
    """One thread syncs two dates again and again, and another reads, for as long as the block lasts."""
    load = Busy(world)
    with ThreadPoolExecutor() as pool:
        load.threads += [pool.submit(load.sync), pool.submit(load.read)]
        try:
            yield load
        finally:
            load.over.set()
        for thread in load.threads:
            thread.result()


@pytest.mark.long
def test_readers_go_on_through_every_migration_down_and_up_again_and_syncs_after_it(world: World) -> None:
    shop = Shop(world)
    shop.load(*DAYS)
    world.sync(*DAYS)
    with busy(world) as load:
        for revision in ("0011", "0009", "0008", "0005", "0004", "0003", "0002", "0001"):
            migrate.downgrade(world.database_url, revision)
            load.reads_go_on()
            migrate.upgrade(world.database_url)
            load.reads_go_on()
            load.syncs_go_on()

    assert migrate.current(world.database_url) == migrate.head()
    assert load.failed == []
    (totals,) = world.query("SELECT count(*) AS rows, sum(clicks) AS clicks FROM campaign_metrics")
    assert totals == {"rows": 4, "clicks": 40}
