"""Through a pooler: in session mode everything works, and in transaction mode, if it was not noticed, no date is
marked without its rows."""

from collections.abc import Iterator
from contextlib import closing, suppress
from uuid import UUID, uuid4

import psycopg
import pytest

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect, open_connection
from engarde_pipeline.postgres.load.merge import SessionLost
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates
from engarde_pipeline_tests.conftest import NewRole
from engarde_pipeline_tests.poolers import pgbouncer
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, row
from engarde_pipeline_tests.world import World, campaigns_in_bigquery, campaigns_in_postgres


@pytest.fixture
def through(world: World) -> Iterator[str]:
    with pgbouncer(world.database_url, "transaction", size=2) as url:
        yield url


def begin(
    world: World, connection: psycopg.Connection, run_id: UUID | None = None
) -> Iterator[SyncedDate | FailedDate]:
    connection.prepare_threshold = None
    options = LoadOptions(run_id or uuid4(), None, None, versions={DAY: "v1", NEXT_DAY: "v1"})
    return sync_dates(CAMPAIGN_METRICS, [DAY, NEXT_DAY], world.source, connection, options)


def test_through_a_pooler_in_session_mode_a_role_with_odd_settings_syncs_every_value(
    world: World, tenant: UUID, campaign: UUID, new_role: NewRole
) -> None:
    odd = {
        "TimeZone": "Pacific/Kiritimati",
        "DateStyle": "German",
        "extra_float_digits": "-15",
        "default_transaction_isolation": "serializable",
        "statement_timeout": "20ms",
        "standard_conforming_strings": "off",
        "client_encoding": "LATIN1",
    }
    world.load([row(tenant, metric_date=day, spend=98765432.123456, clicks=7) for day in (DAY, NEXT_DAY)])
    with pgbouncer(new_role(**odd), "session") as url, connect(url) as connection:
        options = LoadOptions(uuid4(), None, None, versions={DAY: "v1", NEXT_DAY: "v1"})
        outcomes = list(sync_dates(CAMPAIGN_METRICS, [DAY, NEXT_DAY], world.source, connection, options))

    assert all(isinstance(outcome, SyncedDate) for outcome in outcomes)
    assert len(world.rows()) == 2
    assert campaigns_in_postgres(world) == campaigns_in_bigquery(world)


def test_a_merge_on_another_connection_of_the_server_changes_nothing(
    world: World, tenant: UUID, campaign: UUID, through: str
) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    with closing(open_connection(through)) as connection, closing(open_connection(through)) as other:
        outcomes = begin(world, connection)
        assert isinstance(next(outcomes), SyncedDate)
        other.execute("BEGIN")  # takes the server's connection with the locks and the records
        other.execute("SELECT 1", prepare=False)

        with pytest.raises(SessionLost, match="pooler in session mode"):
            next(outcomes)

    assert [found["metric_date"] for found in world.rows()] == [DAY]
    assert [found["metric_date"] for found in world.query("SELECT metric_date FROM synced_dates")] == [DAY]


def test_records_of_another_sync_on_the_same_connection_are_not_taken_for_ours(
    world: World, tenant: UUID, campaign: UUID, through: str
) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    with closing(open_connection(through)) as connection, closing(open_connection(through)) as other:
        outcomes = begin(world, connection)
        assert isinstance(next(outcomes), SyncedDate)
        # What another writer does there: records of its own, without a row of ours.
        other.execute("CREATE TEMPORARY TABLE others AS SELECT * FROM records LIMIT 0", prepare=False)
        other.execute("DROP TABLE records", prepare=False)
        other.execute("ALTER TABLE others RENAME TO records", prepare=False)

        with pytest.raises(SessionLost):
            next(outcomes)

    assert [found["metric_date"] for found in world.query("SELECT metric_date FROM synced_dates")] == [DAY]


def test_a_date_whose_lock_was_released_meanwhile_is_not_written(
    world: World, tenant: UUID, campaign: UUID, through: str
) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    with closing(open_connection(through)) as connection, closing(open_connection(through)) as other:
        outcomes = begin(world, connection)
        assert isinstance(next(outcomes), SyncedDate)
        other.execute("SELECT pg_advisory_unlock_all()", prepare=False)

        with pytest.raises(SessionLost):
            next(outcomes)

    assert [found["metric_date"] for found in world.rows()] == [DAY]


def test_whoever_shares_connections_marks_no_date_without_its_rows(
    world: World, tenant: UUID, campaign: UUID, through: str
) -> None:
    world.load([row(tenant, metric_date=day) for day in (DAY, NEXT_DAY)])
    for _ in range(5):
        world.connection.execute("TRUNCATE campaign_metrics, synced_dates")
        with closing(open_connection(through)) as one, closing(open_connection(through)) as other:
            for connection in (one, other):
                with suppress(EngardeError, psycopg.Error):
                    list(begin(world, connection))

        marked = {found["metric_date"] for found in world.query("SELECT metric_date FROM synced_dates")}
        assert marked <= {found["metric_date"] for found in world.rows()}
