"""Dagster's history in Postgres: its connections stay open, may be lost at any moment, and depend on no role."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetKey,
    AssetMaterialization,
    BackfillPolicy,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    OpExecutionContext,
    PreviewWarning,
    RunsFilter,
    StaticPartitionsDefinition,
    asset,
    define_asset_job,
    job,
    multi_asset_check,
    op,
)
from psycopg import sql
from sqlalchemy import Engine, event, select
from sqlalchemy.engine import make_url

from engarde_pipeline.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
    log_materializations,
)
from engarde_pipeline.dagster_storage import EventLog, HistoryStorage
from engarde_pipeline.postgres.connection import DatabaseUnfit, connect
from engarde_pipeline.postgres.reads.diagnosis import check_history
from engarde_pipeline.settings import DagsterSettings, InvalidSettings
from engarde_pipeline_tests.conftest import NewRole
from engarde_pipeline_tests.poolers import pgbouncer
from engarde_pipeline_tests.world import World

EVENTS = 30

ODD = {
    "TimeZone": "Australia/Sydney",
    "DateStyle": "SQL, DMY",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "idle_session_timeout": "3s",
}
"""What Dagster's role may have set."""


@op
def log_events(context: OpExecutionContext) -> None:
    for number in range(EVENTS):
        context.log_event(AssetMaterialization("something", partition=str(number)))


@op
def lose_connections_between_events(context: OpExecutionContext) -> None:
    context.log_event(AssetMaterialization("something", partition="before"))
    url = os.environ["DAGSTER_DATABASE_URL"]
    with connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    context.log_event(AssetMaterialization("something", partition="after"))


@op
def log_many_together(context: OpExecutionContext) -> None:
    log_materializations(context, [AssetMaterialization("something", partition=str(n)) for n in range(EVENTS)])


@asset(
    partitions_def=StaticPartitionsDefinition([f"{number:02}" for number in range(EVENTS)]),
    backfill_policy=BackfillPolicy.single_run(),
)
def partitioned() -> None:
    pass


with warnings.catch_warnings():
    warnings.simplefilter("ignore", PreviewWarning)
    BY_DATE = AssetCheckSpec("by_date", asset=partitioned, partitions_def=partitioned.partitions_def)


@multi_asset_check(specs=[BY_DATE, AssetCheckSpec("whole", asset=partitioned)])
def checks_of_partitioned() -> Iterator[AssetCheckResult]:
    yield from ()


@job
def many_events() -> None:
    log_events()


@job
def many_together() -> None:
    log_many_together()


@job
def lost_connections() -> None:
    lose_connections_between_events()


def _sessions(connection: psycopg.Connection) -> int:
    # Counted by Postgres since the database was created.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])


def test_a_run_stores_its_events_over_few_connections(
    instance: DagsterInstance, dagster_database_url: str
) -> None:
    instance.get_runs()
    with connect(dagster_database_url) as connection:
        before = _sessions(connection)
        assert many_events.execute_in_process(instance=instance).success
        assert _sessions(connection) - before < EVENTS / 5


@contextmanager
def _counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_events_that_are_logged_together_are_stored_together(instance: DagsterInstance) -> None:
    with _counted() as statements:
        run = many_together.execute_in_process(instance=instance)
    assert len([statement for statement in statements if "INSERT INTO asset_keys" in statement]) == 1
    assert (
        len(instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records)
        == EVENTS
    )
    assert len(instance.get_materialized_partitions(AssetKey("something"))) == EVENTS


def test_a_run_of_many_dates_is_created_with_few_statements(instance: DagsterInstance) -> None:
    planned = define_asset_job("planned", [partitioned])
    definition = Definitions(assets=[partitioned], jobs=[planned]).resolve_job_def("planned")
    first, last = "00", f"{EVENTS - 1:02}"
    with _counted() as statements:
        run = instance.create_run_for_job(
            definition, tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        )
    assert len(statements) < EVENTS
    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    ).records
    assert sorted(record.partition_key or "" for record in records) == [f"{n:02}" for n in range(EVENTS)]
    (known,) = instance.get_asset_records([partitioned.key])
    assert known.asset_entry.last_run_id == run.run_id


def test_planned_checks_are_stored_as_dagster_stores_each(instance: DagsterInstance) -> None:
    planning = define_asset_job("planning", [partitioned])
    definition = Definitions(
        assets=[partitioned], asset_checks=[checks_of_partitioned], jobs=[planning]
    ).resolve_job_def("planning")
    storage = instance.event_log_storage
    assert isinstance(storage, EventLog)
    together, alone = (
        instance.create_run_for_job(
            definition, tags={ASSET_PARTITION_RANGE_START_TAG: "00", ASSET_PARTITION_RANGE_END_TAG: "04"}
        ).run_id
        for _ in range(2)
    )
    planned = instance.all_logs(alone, of_type=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    assert len(planned) == 2
    table, events = AssetCheckExecutionsTable, SqlEventLogStorageTable
    with storage.index_transaction() as connection:
        connection.execute(table.delete().where(table.c.run_id == alone))
    for entry in planned:
        storage.store_event(entry)
    with storage.index_connection() as connection:
        stored = [
            connection.execute(
                select(table.c.asset_key, table.c.check_name, table.c.partition, table.c.execution_status)
                .add_columns(events.c.dagster_event_type, events.c.event == table.c.evaluation_event)
                .join(events, events.c.id == table.c.evaluation_event_storage_id)
                .where(table.c.run_id == run_id, events.c.run_id == run_id)
                .order_by(table.c.check_name, table.c.partition)
            ).all()
            for run_id in (together, alone)
        ]
    assert stored[0] == stored[1]
    assert [row.partition for row in stored[0]] == [f"{number:02}" for number in range(5)] + [None]


def test_what_dagsters_tables_have_is_not_looked_up_again(instance: DagsterInstance) -> None:
    instance.get_asset_records()
    instance.get_runs()
    with _counted() as statements:
        instance.get_asset_records()
        instance.get_runs()
    assert not [statement for statement in statements if "pg_catalog" in statement]


def test_a_run_goes_on_after_every_connection_was_lost(instance: DagsterInstance) -> None:
    assert lost_connections.execute_in_process(instance=instance).success


def test_without_an_address_the_history_is_in_sqlite_in_dagster_home(
    configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_DATABASE_URL")
    with DagsterInstance.get() as first:
        assert many_events.execute_in_process(instance=first).success
    assert (Path(os.environ["DAGSTER_HOME"]) / "history" / "runs.db").exists()
    with DagsterInstance.get() as second:
        assert len(second.get_runs()) == 1


def test_a_malformed_address_is_named_without_its_password(
    configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_DATABASE_URL", "mysql://u:hunter2@db/dagster")
    with pytest.raises(InvalidSettings, match="DAGSTER_DATABASE_URL: must be a Postgres address") as found:
        DagsterInstance.get()
    assert "hunter2" not in str(found.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p%40ss@db:5432/dagster",
        "postgres://u:p%40ss@db:5432/dagster",
        "postgresql+psycopg://u:p%40ss@db:5432/dagster",
    ],
)
def test_the_address_is_given_to_the_driver_that_dagster_uses(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_DATABASE_URL", address)
    url = make_url(DagsterSettings().dagster_storage_url)
    assert (url.drivername, url.password, url.query["connect_timeout"]) == ("postgresql+psycopg2", "p@ss", "10")


def test_several_hosts_are_tried_in_turn(dagster_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_url(dagster_database_url)
    both = url.set(query={"host": f"127.0.0.1,{url.query['host']}", "port": "9,5432"})
    monkeypatch.setenv("DAGSTER_DATABASE_URL", both.render_as_string(hide_password=False))
    assert HistoryStorage(DagsterSettings().dagster_storage_url).run_storage.get_runs() == []


def test_the_stock_storage_of_dagster_stores_events_as_well(
    configured: World, dagster_database_url: str, tmp_path: Path
) -> None:
    # SQLAlchemy 2.1 would read this address as one of psycopg 3 (dagster issue 33958).
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{dagster_database_url}'}}}}\n"
    )
    with DagsterInstance.from_config(str(tmp_path / "stock")) as stock:
        assert many_events.execute_in_process(instance=stock).success


@pytest.fixture
def role(dagster_database_url: str) -> Iterator[str]:
    """A role for Dagster's history."""
    name = "odd_dagster"
    with connect(dagster_database_url) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN SUPERUSER".encode())
        yield name
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def _as_role(url: str, role: str, **settings: str) -> str:
    with connect(url) as owner:
        for setting in settings.items():
            statement = sql.SQL("ALTER ROLE {} SET {} = {}")
            owner.execute(statement.format(sql.Identifier(role), sql.Identifier(setting[0]), setting[1]))
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.mark.parametrize("is_pooled", [False, True])
def test_the_history_does_not_depend_on_what_its_role_has_set(
    configured: World, dagster_database_url: str, role: str, monkeypatch: pytest.MonkeyPatch, is_pooled: bool
) -> None:
    url = _as_role(dagster_database_url, role, **ODD)
    with pgbouncer(url, "session", size=20) as pooler:
        monkeypatch.setenv("DAGSTER_DATABASE_URL", pooler if is_pooled else url)
        with DagsterInstance.get() as instance:
            assert many_events.execute_in_process(instance=instance, tags={"who": "café 日本"}).success

            soon, lately = (datetime.now(UTC) + timedelta(minutes=sign) for sign in (1, -1))
            (record,) = instance.get_run_records(RunsFilter(created_before=soon, updated_after=lately))
            assert lately < record.create_timestamp < soon
            assert record.start_time is not None
            assert lately.timestamp() < record.start_time < soon.timestamp()
            assert record.dagster_run.tags["who"] == "café 日本"
            with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]  # PostgresRunStorage
                for name in ("lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
                    assert connection.exec_driver_sql(f"SHOW {name}").scalar() == "0"


def test_the_history_is_not_stored_through_a_pooler_in_transaction_mode(
    configured: World, dagster_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(dagster_database_url, "transaction") as pooler:
        monkeypatch.setenv("DAGSTER_DATABASE_URL", pooler)
        with pytest.raises(DatabaseUnfit, match="DAGSTER_DATABASE_URL is the address of a pooler in transaction"):
            DagsterInstance.get()


def test_a_history_that_can_only_be_read_is_refused(
    configured: World, dagster_database_url: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _as_role(dagster_database_url, role, default_transaction_read_only="on")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", url)
    with pytest.raises(DatabaseUnfit, match=r"session is read-only.*set DAGSTER_DATABASE_URL to one that is not"):
        DagsterInstance.get()


def test_a_role_that_may_not_create_the_tables_is_told_how_it_may(
    empty_database_url: str, dagster_database_url: str, new_role: NewRole
) -> None:
    name = make_url(new_role("")).username
    for url in (empty_database_url, dagster_database_url):
        as_role = make_url(url).set(username=name).render_as_string(hide_password=False)
        with pytest.raises(DatabaseUnfit, match=f'ALTER DATABASE .* OWNER TO "{name}"'):
            check_history(as_role)
    with connect(empty_database_url) as owner:
        owner.execute(f"ALTER DATABASE {make_url(empty_database_url).database} OWNER TO {name}".encode())
        as_role = make_url(empty_database_url).set(username=name).render_as_string(hide_password=False)
        assert f"role {name}, can write" in check_history(as_role)
        owner.execute(f"ALTER DATABASE {make_url(empty_database_url).database} OWNER TO postgres".encode())
