"""Which faults of Postgres pass by themselves: one definition for retries of a step and of a run."""

import psycopg
import pytest
from psycopg import errors

from engarde_pipeline.postgres.connection import DatabaseUnavailable, LoginRefused, connect
from engarde_pipeline.postgres.faults import explanation, is_refused
from engarde_pipeline.sync.faults import is_transient
from engarde_pipeline_tests.cli.refusing_postgres import refusing_postgres


@pytest.mark.parametrize(
    "error",
    [
        errors.SerializationFailure,
        errors.DeadlockDetected,
        errors.ForeignKeyViolation,
        errors.AdminShutdown,
        errors.CrashShutdown,
        errors.CannotConnectNow,
        errors.ConnectionFailure,
        errors.TooManyConnections,
        errors.LockNotAvailable,
        errors.ReadOnlySqlTransaction,
        psycopg.OperationalError,
    ],
)
def test_what_passes_by_itself_is_tried_again(error: type[psycopg.Error]) -> None:
    assert is_transient(error("..."))


@pytest.mark.parametrize(
    "error",
    [
        errors.DiskFull,
        errors.InvalidPassword,
        errors.InvalidAuthorizationSpecification,
        errors.InvalidCatalogName,
        errors.InsufficientPrivilege,
        errors.QueryCanceled,
        errors.DatabaseDropped,
        errors.ConfigurationLimitExceeded,
        errors.ProgramLimitExceeded,
        errors.NumericValueOutOfRange,
        errors.UndefinedColumn,
        errors.UniqueViolation,
        psycopg.ProgrammingError,
    ],
)
def test_what_comes_back_is_not_tried_again(error: type[psycopg.Error]) -> None:
    assert not is_transient(error("..."))


def test_a_full_disk_names_the_cure() -> None:
    assert "Free or add space" in explanation(errors.DiskFull("could not extend file"))


@pytest.mark.parametrize(
    "query",
    [
        "user=nobody_at_all",
        "dbname=no_such_database",
        "nonsense=1",
        "sslmode=bad",
    ],
)
def test_a_login_that_the_server_refuses_is_permanent(database_url: str, query: str) -> None:
    with pytest.raises(LoginRefused) as raised:
        connect(f"{database_url}&{query}" if "?" in database_url else f"{database_url}?{query}").close()
    assert not is_transient(raised.value)


@pytest.mark.parametrize("password", [":wrong", ""])
def test_a_refused_or_missing_password_is_permanent(password: str) -> None:
    with refusing_postgres() as address, pytest.raises(LoginRefused) as raised:
        connect(f"postgresql://writer{password}@{address}/app")
    assert not is_transient(raised.value)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nobody.invalid:5432"])
def test_a_server_that_does_not_answer_may_do_so_later(address: str) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        connect(f"postgresql://writer@{address}/app")
    assert is_transient(raised.value)


def test_a_server_without_a_free_connection_may_have_one_later(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
        try:
            with pytest.raises(DatabaseUnavailable, match="too many connections") as raised:
                connect(f"{database_url}&user=crowded" if "?" in database_url else f"{database_url}?user=crowded")
        finally:
            connection.execute("DROP ROLE crowded")
    assert is_transient(raised.value)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  the database system is in recovery mode", False),
        ("FATAL:  sorry, too many clients already", False),
        ("server closed the connection unexpectedly", False),
        ("timeout expired", False),
        ('FATAL:  role "w" is not permitted to log in', True),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "w", database "app", no encryption', True),
        ("SSL error: certificate verify failed", True),
        ("server does not support SSL, but SSL was required", True),
        ("FATAL:  unsupported startup parameter: options", True),
    ],
)
def test_libpqs_words_tell_a_refusal_from_a_server_that_is_not_there(said: str, refused: bool) -> None:
    error = psycopg.OperationalError(f'connection failed: connection to server at "db", port 5432 failed: {said}')
    assert is_refused(error) is refused
