"""Connections to the target database, their session settings, and the errors if there is no connection."""

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
"""The application_name of connections; that of a run's connections is followed by the run's id."""

_SESSION_POOLERS: set[str] = set()
"""Addresses of poolers that this process has detected to be in session mode."""

_HAS_PARAMETER_PRIVILEGES = 150000
_HAS_TRANSACTION_TIMEOUT = 170000

SETTINGS = {
    # COPY takes as long as the read from BigQuery, while other connections are idle; locks have their own limits.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # The meaning of statements, and the format of results.
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
    # Temporary tables take precedence over the application's tables of the same name.
    "search_path": "",
    # Enough to keep the sums and joins of a month of staged rows in memory.
    "temp_buffers": "64MB",
    "work_mem": "64MB",
}
"""The settings that a sync requires, whatever the role, the database or the server set. `search_path` is kept,
except that `pg_temp` is removed from it."""

# One round trip. session_replication_role is set only if the role has the privilege. `temp_buffers` cannot be
# changed after the session has used temporary tables, which an earlier client of a pooler may have done.
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
    """Postgres cannot be reached, or refuses the login."""


class LoginRefused(DatabaseUnavailable):
    """Postgres refuses the login, the database or the TLS settings; this is not transient."""


class DatabaseUnfit(EngardeError):
    """A sync over this connection would fail or write wrong numbers."""


def connect(database_url: str, run_id: str | None = None, variable: str = "DATABASE_URL") -> psycopg.Connection:
    """Return a new autocommit connection with `SETTINGS`; `with` closes it.

    The application_name of a run's connection contains the run's id, which also shows that the run is alive.
    `variable` is the environment variable with the address, for messages.

    `database_url` is any SQLAlchemy form of a Postgres address (`postgresql://`, `postgres://`,
    `postgresql+psycopg://`, ...) or libpq's with several hosts; libpq's own variables and options in the query
    part are supported.

    Raises:
        DatabaseUnavailable: the server does not respond.
        LoginRefused: the server refuses the user, password, database or TLS settings.
        DatabaseUnfit: the address is a pooler that does not keep a session on one server connection.
    """
    connection = open_connection(database_url, run_id, variable)
    try:
        if connection.info.server_version < _HAS_PARAMETER_PRIVILEGES:
            return connection  # too old, which `engarde doctor` reports
        if not _apply(connection, only_directly=True):
            _check_session_mode(connection, database_url, variable)
            # An earlier client of the pooler may have left these behind.
            connection.execute("DISCARD TEMP")
            connection.execute("SELECT pg_advisory_unlock_all()")
            _apply(connection, only_directly=False)
    except psycopg.OperationalError as error:
        connection.close()
        raise _unavailable(database_url, error, variable) from None
    except BaseException:
        connection.close()
        raise
    return connection


def open_connection(
    database_url: str, run_id: str | None = None, variable: str = "DATABASE_URL"
) -> psycopg.Connection:
    """Return a new autocommit connection with the server's settings, except for encoding and application_name.

    Raises:
        DatabaseUnavailable: as `connect`.
    """
    given = parameters(database_url)
    if run_id:
        given["application_name"] = f"{NAME} {run_id}"
    if addresses.names_several_hosts(addresses.parse(database_url)):
        given.setdefault("target_session_attrs", "read-write")  # not a standby
    try:
        return psycopg.connect(**given, autocommit=True)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise _unavailable(database_url, error, variable) from None


def connected_runs(connection: psycopg.Connection) -> set[str]:
    """Return the ids of the runs that have a connection to this database."""
    names = connection.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND starts_with(application_name, %s)",
        [f"{NAME} "],
    )
    return {run_id for (name,) in names if (run_id := run_of(str(name)))}


def run_of(application_name: str) -> str | None:
    """Return the id of the run whose connection has this application_name, or None."""
    return application_name.removeprefix(f"{NAME} ") if application_name.startswith(f"{NAME} ") else None


def create_engine(database_url: str) -> Engine:
    """Return an SQLAlchemy engine for migrations.

    It works over every pooler: settings are local to a transaction, and no statement is prepared.
    """

    def open_for_transactions() -> psycopg.Connection:
        connection = open_connection(database_url)
        connection.autocommit = False  # SQLAlchemy manages transactions itself
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.prepare_threshold = None
        return connection

    engine = sqlalchemy_engine("postgresql+psycopg://", creator=open_for_transactions, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def apply_settings(connection: Connection) -> None:
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg.Connection)  # noqa: S101  created above
        if driver_connection.info.server_version >= _HAS_PARAMETER_PRIVILEGES:
            _apply(driver_connection, only_directly=False, is_local=True)

    return engine


def parameters(database_url: str) -> dict[str, Any]:
    """Return the connection parameters of `database_url`.

    They include no session setting that a pooler would refuse; all poolers support the encoding.
    """
    url = addresses.parse(database_url)
    # Not as a URL: SQLAlchemy writes a space as +, which libpq does not decode.
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": NAME,
        **url.translate_connect_args(username="user", database="dbname"),
        **options,
        "client_encoding": "UTF8",  # the encoding of all text that is sent
    }


def _check_session_mode(connection: psycopg.Connection, database_url: str, variable: str) -> None:
    if database_url in _SESSION_POOLERS:
        return
    kept = keeps_sessions(connection, lambda: open_connection(database_url))
    if kept is False:
        raise DatabaseUnfit(
            f"{variable} is the address of a pooler in transaction or statement mode. It may run each transaction"
            " on another server connection, so that settings, locks and temporary tables would be lost or shared."
            " Connect directly to Postgres, or through a pooler in session mode (pgbouncer: pool_mode = session)."
        )
    if kept:
        _SESSION_POOLERS.add(database_url)


def _apply(connection: psycopg.Connection, *, only_directly: bool, is_local: bool = False) -> bool:
    """Apply `SETTINGS`; with `only_directly` only if there is no pooler. Return whether they were applied."""
    settings = dict(SETTINGS)
    if connection.info.server_version < _HAS_TRANSACTION_TIMEOUT:
        del settings["transaction_timeout"]
    # A pooler reports a backend id of its own. The values are literals, because some poolers do not support
    # prepared statements.
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


def _unavailable(database_url: str, error: psycopg.Error, variable: str) -> DatabaseUnavailable:
    # libpq's message names host, port, user and database, never the password.
    unavailable = LoginRefused if is_refused(error) else DatabaseUnavailable
    return unavailable(
        f"Cannot connect to Postgres at {addresses.shown(addresses.parse(database_url))}:"
        f" {' '.join(str(error).split())}. Check {variable} and that the server accepts this login."
    )
