"""Connections to the target database, their session settings, and what to say when there is none."""

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, event
from sqlalchemy import create_engine as sqlalchemy_engine

from engarde_pipeline.core import addresses
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.faults import is_refused
from engarde_pipeline.postgres.pooler import keeps_sessions

CONNECT_TIMEOUT_SECONDS = 10

NAME = "engarde_pipeline"
"""What a connection calls itself in pg_stat_activity; a run's is followed by the run's id."""

_KEEP_SESSIONS: set[str] = set()
"""Addresses of poolers that this process has found to be in session mode."""

_HAS_PARAMETER_PRIVILEGES = 150000
_HAS_TRANSACTION_TIMEOUT = 170000

SETTINGS = {
    # COPY lasts as long as BigQuery is read, and beside it a connection may wait; locks have limits of their own.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # What the statements mean, and how their results are read.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "row_security": "on",
    "session_replication_role": "origin",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # Temporary tables come before the application's tables of the same name.
    "search_path": "",
    # Plenty for the rows of a month of dates, so that sums and joins of what is staged stay in memory.
    "temp_buffers": "64MB",
    "work_mem": "64MB",
}
"""What a session relies on, whatever the role, the database or the server have set. `search_path` stays as it is,
but for a `pg_temp` that is named in it."""

# One round trip. A parameter that only administrators may set is set where this role may; `temp_buffers` cannot be
# changed once the session has used temporary tables, as an earlier client of a pooler may have.
_APPLY = """
SELECT count(set_config(name, CASE
    WHEN name <> 'search_path' THEN value
    WHEN current_setting(name) ~ '"[^",]+,[^"]*pg_temp[^"]*"' THEN current_setting(name)  -- a name with a comma
    ELSE regexp_replace(current_setting(name), '(^|,)\\s*"?pg_temp"?\\s*(?=,|$)', '', 'g')
END, {is_local}))
FROM unnest({names}::text[], {values}::text[]) AS settings (name, value)
WHERE {applies}
  AND (name <> 'temp_buffers' OR pg_my_temp_schema() = 0)
  AND (name <> 'session_replication_role'
       OR current_setting(name) <> value AND has_parameter_privilege(name, 'SET'))
"""


class DatabaseUnavailable(EngardeError):
    """Postgres cannot be reached, or refuses the login; the message says which and what to check."""


class LoginRefused(DatabaseUnavailable):
    """Postgres answers, and refuses the login, the database or the TLS settings: it will do so again."""


class DatabaseUnfit(EngardeError):
    """A sync over this connection would fail or write wrong numbers; the message says why, and the cure."""


def connect(database_url: str, run_id: str | None = None) -> psycopg.Connection:
    """Return a new autocommit connection with the settings that a session relies on; `with` closes it.

    A run's connection carries its id as its name, so that everybody sees which run it is, and that the run lives.

    `database_url` is any SQLAlchemy form of a Postgres address (`postgresql://`, `postgres://`,
    `postgresql+psycopg://`, ...) or libpq's with several hosts; libpq's own variables and options in the query
    part are honoured.

    Raises:
        DatabaseUnavailable: no server answers there.
        LoginRefused: it refuses the user, password, database or TLS settings.
        DatabaseUnfit: it is a pooler that does not keep a session on one connection of the server.
    """
    connection = open_connection(database_url, run_id)
    try:
        if connection.info.server_version < _HAS_PARAMETER_PRIVILEGES:
            return connection  # too old, which the doctor says
        if not _apply(connection, only_directly=True):
            _check_keeps_sessions(connection, database_url)
            # What an earlier client of the pooler may have left behind.
            connection.execute("DISCARD TEMP")
            connection.execute("SELECT pg_advisory_unlock_all()")
            _apply(connection, only_directly=False)
    except psycopg.OperationalError as error:
        connection.close()
        raise _unavailable(database_url, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def open_connection(database_url: str, run_id: str | None = None) -> psycopg.Connection:
    """Return a new autocommit connection as the server makes it, but for its encoding and name.

    Raises:
        DatabaseUnavailable: as `connect`.
    """
    given = parameters(database_url)
    if run_id:
        given["application_name"] = f"{NAME} {run_id}"
    if addresses.names_several_hosts(addresses.parse(database_url)):
        given.setdefault("target_session_attrs", "read-write")  # the one that is not a standby
    try:
        return psycopg.connect(**given, autocommit=True)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise _unavailable(database_url, error) from None


def connected_runs(connection: psycopg.Connection) -> set[str]:
    """Return the ids of the runs that have a connection to this database now."""
    names = connection.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND starts_with(application_name, %s)",
        [f"{NAME} "],
    )
    return {str(name).removeprefix(f"{NAME} ") for (name,) in names}


def create_engine(database_url: str) -> Engine:
    """Return an SQLAlchemy engine, for migrations. Its settings hold for one transaction, and nothing is prepared,
    so that it works over every pooler."""

    def open_for_transactions() -> psycopg.Connection:
        connection = open_connection(database_url)
        connection.autocommit = False  # SQLAlchemy means its transactions
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.prepare_threshold = None
        return connection

    engine = sqlalchemy_engine("postgresql+psycopg://", creator=open_for_transactions, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def apply_settings(connection: Connection) -> None:
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg.Connection)  # noqa: S101  made above
        if driver_connection.info.server_version >= _HAS_PARAMETER_PRIVILEGES:
            _apply(driver_connection, only_directly=False, is_local=True)

    return engine


def parameters(database_url: str) -> dict[str, Any]:
    """Return what libpq is to be told to connect to `database_url`.

    Nothing in it is a session setting that a pooler does not know; the encoding is one that every pooler keeps.
    """
    url = addresses.parse(database_url)
    # Not as an address again: libpq does not read a + in it as a space, as SQLAlchemy writes it.
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": NAME,
        **url.translate_connect_args(username="user", database="dbname"),
        **options,
        "client_encoding": "UTF8",  # as which all text is sent
    }


def _check_keeps_sessions(connection: psycopg.Connection, database_url: str) -> None:
    if database_url in _KEEP_SESSIONS:
        return
    kept = keeps_sessions(connection, lambda: open_connection(database_url))
    if kept is False:
        raise DatabaseUnfit(
            "DATABASE_URL leads to a pooler in transaction or statement mode. It gives every transaction another"
            " connection of the server, so that a sync's locks and temporary tables would be lost or shared."
            " Connect directly to Postgres, or through a pooler in session mode (pgbouncer: pool_mode = session)."
        )
    if kept:
        _KEEP_SESSIONS.add(database_url)


def _apply(connection: psycopg.Connection, *, only_directly: bool, is_local: bool = False) -> bool:
    """Apply `SETTINGS`, with `only_directly` just where no pooler stands between; return whether it was done."""
    settings = dict(SETTINGS)
    if connection.info.server_version < _HAS_TRANSACTION_TIMEOUT:
        del settings["transaction_timeout"]
    # A pooler tells a backend's id of its own invention. Bound here: poolers may not know prepared statements.
    statement = sql.SQL(_APPLY).format(
        names=sql.Literal(list(settings)),
        values=sql.Literal(list(settings.values())),
        is_local=sql.Literal(is_local),
        applies=sql.SQL("pg_backend_pid() = {}").format(sql.Literal(connection.info.backend_pid))
        if only_directly
        else sql.SQL("true"),
    )
    row = connection.execute(statement, prepare=False).fetchone()
    return bool(row and row[0])


def _unavailable(database_url: str, error: psycopg.Error) -> DatabaseUnavailable:
    # libpq's message names host, port, user and database, never the password.
    unavailable = LoginRefused if is_refused(error) else DatabaseUnavailable
    return unavailable(
        f"Cannot connect to Postgres at {addresses.shown(addresses.parse(database_url))}:"
        f" {' '.join(str(error).split())}. Check DATABASE_URL and that the server accepts this login."
    )
