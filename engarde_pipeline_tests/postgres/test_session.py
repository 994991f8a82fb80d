"""Sessions: whatever the role or a pooler has set, a session is what a sync relies on, or is refused."""

from contextlib import closing
from datetime import date

import psycopg
import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import DatabaseUnfit, connect, create_engine, open_connection
from engarde_pipeline.postgres.load.locks import dates_locked
from engarde_pipeline.postgres.reads.diagnosis import check_before_upgrade, check_session
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests.conftest import NewRole
from engarde_pipeline_tests.poolers import pgbouncer

DAY = date(2026, 3, 1)

SETTINGS = [
    ("statement_timeout", "150ms", "0"),
    ("lock_timeout", "150ms", "0"),
    ("idle_in_transaction_session_timeout", "150ms", "0"),
    ("idle_session_timeout", "150ms", "0"),
    ("default_transaction_isolation", "serializable", "read committed"),
    ("default_transaction_deferrable", "on", "off"),
    ("standard_conforming_strings", "off", "on"),
    ("DateStyle", "SQL, DMY", "ISO, DMY"),
    ("IntervalStyle", "iso_8601", "postgres"),
    ("TimeZone", "Australia/Sydney", "UTC"),
    ("bytea_output", "escape", "hex"),
    ("extra_float_digits", "-15", "1"),
    ("row_security", "off", "on"),
    ("session_replication_role", "replica", "origin"),
    ("client_encoding", "LATIN1", "UTF8"),
]
"""What a role may have set, and what a session needs."""


@pytest.mark.parametrize(("name", "value", "expected"), SETTINGS)
def test_a_session_does_not_depend_on_what_the_role_has_set(
    new_role: NewRole, name: str, value: str, expected: str
) -> None:
    url = new_role(**{name: value})

    with connect(url) as connection:
        assert connection.execute(f"SHOW {name}".encode()).fetchone() == (expected,)
    with create_engine(url).begin() as migrating:
        assert migrating.exec_driver_sql(f"SHOW {name}").scalar() == expected


def test_through_a_pooler_a_session_does_not_depend_on_what_the_role_has_set_either(new_role: NewRole) -> None:
    # Until a pooler is known to keep sessions, nothing is set; so much time passes under load.
    url = new_role(**{name: value.replace("150ms", "10s") for name, value, _ in SETTINGS})

    with pgbouncer(url, "session") as pooler, connect(pooler) as connection:
        for name, _, expected in SETTINGS:
            assert (name, connection.execute(f"SHOW {name}".encode()).fetchone()) == (name, (expected,))
        assert "through a pooler in session mode" in check_session(pooler)


def test_text_is_sent_as_utf_8_whatever_the_environment_and_the_address_say(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    url = make_url(database_url).update_query_dict(
        {"client_encoding": "LATIN1", "options": "-c client_encoding=LATIN1"}
    )

    with connect(url.render_as_string(hide_password=False)) as connection:
        assert connection.execute("SELECT 'café 日本', octet_length('é')").fetchone() == ("café 日本", 2)


def test_a_read_only_role_is_refused_before_a_sync_and_an_upgrade(new_role: NewRole) -> None:
    url = new_role(default_transaction_read_only="on")

    for check in (check_session, check_before_upgrade):
        with pytest.raises(DatabaseUnfit, match="read-only: default_transaction_read_only is on"):
            check(url)
    with pgbouncer(url, "session") as pooler, pytest.raises(DatabaseUnfit, match="The session is read-only"):
        check_session(pooler)


def test_a_role_whose_triggers_do_not_fire_is_refused(new_role: NewRole) -> None:
    with pytest.raises(DatabaseUnfit, match="session_replication_role is replica"):
        check_session(new_role("", session_replication_role="replica"))


def test_the_doctor_says_what_the_session_sets_anew(new_role: NewRole) -> None:
    said = check_session(new_role(statement_timeout="150ms", DateStyle="SQL, DMY"))

    assert "direct connection, can write, sees every row, encoding UTF8" in said
    assert "overridden settings of the role: DateStyle, statement_timeout" in said


def test_temporary_tables_come_before_the_applications_wherever_pg_temp_is_searched(new_role: NewRole) -> None:
    url = new_role()
    with connect(url) as owner:
        owner.execute("ALTER ROLE current_user SET search_path = public, pg_temp")
    with connect(url) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("public",)
        connection.execute("CREATE TABLE records AS SELECT 'the application''s' AS whose")
        connection.execute("CREATE TEMPORARY TABLE records AS SELECT 'ours' AS whose")

        assert connection.execute("SELECT whose FROM records").fetchone() == ("ours",)


def test_a_search_path_that_is_one_name_with_a_comma_is_left_alone(new_role: NewRole) -> None:
    with connect(new_role(search_path="public, pg_temp")) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ('"public, pg_temp"',)


@pytest.mark.parametrize("table", ["campaign_metrics", "synced_dates", "campaign_spaces"])
def test_a_search_path_that_finds_other_tables_of_the_same_names_is_refused(new_role: NewRole, table: str) -> None:
    url = new_role()
    with connect(url) as connection:
        connection.execute("CREATE SCHEMA other")
        connection.execute(f"CREATE TABLE other.{table} (LIKE {table} INCLUDING ALL)".encode())
        assert "can write" in check_session(url)
        connection.execute("ALTER ROLE current_user SET search_path = other, public")

    with pytest.raises(DatabaseUnfit, match=f"finds {table} in schema other, .* uses public.{table}. Put public"):
        check_session(url)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_does_not_keep_sessions_is_refused(database_url: str, mode: str) -> None:
    with pgbouncer(database_url, mode) as url, pytest.raises(DatabaseUnfit, match="pooler in transaction or st"):
        connect(url)


@pytest.mark.parametrize("settings", ["server_round_robin = 1", "min_pool_size = 4"])
def test_a_pooler_in_transaction_mode_is_refused_while_others_use_it(database_url: str, settings: str) -> None:
    with pgbouncer(database_url, "transaction", settings=settings) as url:
        others = [open_connection(url) for _ in range(3)]
        for other in others:
            other.execute("BEGIN; SELECT 1")
        try:
            with pytest.raises(DatabaseUnfit, match="pool_mode = session"):
                connect(url)
        finally:
            for other in others:
                other.close()


def test_a_pooler_in_session_mode_serves_even_after_clients_that_used_temporary_tables(database_url: str) -> None:
    with pgbouncer(database_url, "session", settings="server_reset_query =") as url:
        earlier = [open_connection(url) for _ in range(4)]
        for connection in earlier:
            connection.execute("CREATE TEMPORARY TABLE records (x int)")
            connection.execute("INSERT INTO records VALUES (1)")
            connection.execute("SELECT pg_advisory_lock_shared(7)")
        for connection in earlier:
            connection.close()

        for _ in range(2):
            with connect(url) as connection:
                assert connection.execute("SELECT to_regclass('pg_temp.records')").fetchone() == (None,)
                assert connection.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
                ).fetchone() == (0,)
                assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert "through a pooler in session mode" in check_session(url)


def test_an_upgrade_through_any_pooler_is_whole_and_leaves_no_lock(empty_database_url: str) -> None:
    with pgbouncer(empty_database_url, "transaction") as url:
        migrate.upgrade(url)

        with open_connection(empty_database_url) as connection:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert connection.execute(locks).fetchone() == (0,)
    migrate.check(empty_database_url)


def test_no_lock_of_a_date_stays_behind_on_a_pooler_that_was_not_noticed(database_url: str) -> None:
    with pgbouncer(database_url, "transaction") as url, open_connection(database_url) as observer:
        with closing(open_connection(url)) as connection, closing(open_connection(url)) as other:
            connection.prepare_threshold = other.prepare_threshold = None
            with dates_locked(connection, CAMPAIGN_METRICS, [DAY]):
                assert _advisory_locks(observer) == 1
                other.execute("BEGIN")  # takes the server's connection that has the lock
                other.execute("SELECT 1", prepare=False)
        _wait_until_released(observer)


def _advisory_locks(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _wait_until_released(connection: psycopg.Connection) -> None:
    for _ in range(600):
        if not _advisory_locks(connection):
            return
        connection.execute("SELECT pg_sleep(0.05)")
    pytest.fail("a lock stays behind")
