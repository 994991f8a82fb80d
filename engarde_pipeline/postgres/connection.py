"""Connections to the target database, and what to say when there is none."""

from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool
from sqlalchemy import create_engine as sqlalchemy_engine
from sqlalchemy.engine import make_url

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.postgres.faults import is_refused

CONNECT_TIMEOUT_SECONDS = 10

NAME = "engarde_pipeline"
"""What a connection calls itself in pg_stat_activity; a run's is followed by the run's id."""

_SECRETS = ("password", "sslpassword")


class DatabaseUnavailable(EngardeError):
    """Postgres cannot be reached, or refuses the login; the message says which and what to check."""


class LoginRefused(DatabaseUnavailable):
    """Postgres answers, and refuses the login, the database or the TLS settings: it will do so again."""


def connect(database_url: str, run_id: str | None = None) -> psycopg.Connection:
    """Return a new autocommit connection; `with` closes it.

    A run's connection carries its id as its name, so that everybody sees which run it is, and that the run lives.

    `database_url` is any SQLAlchemy form of a Postgres address (`postgresql://`, `postgres://`,
    `postgresql+psycopg://`, ...); libpq's own variables and options in the query part are honoured.

    Raises:
        DatabaseUnavailable: no server answers there.
        LoginRefused: it refuses the user, password, database or TLS settings.
    """
    url = make_url(database_url)
    try:
        named = {"application_name": f"{NAME} {run_id}"} if run_id else {}
        return psycopg.connect(**{**parameters(database_url), **named}, autocommit=True)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        # libpq's message names host, port, user and database, never the password.
        shown = url.difference_update_query(_SECRETS).render_as_string(hide_password=True)
        unavailable = LoginRefused if is_refused(error) else DatabaseUnavailable
        raise unavailable(
            f"Cannot connect to Postgres at {shown}: {' '.join(str(error).split())}. Check DATABASE_URL and that"
            " the server accepts this login."
        ) from None


def connected_runs(connection: psycopg.Connection) -> set[str]:
    """Return the ids of the runs that have a connection to this database now."""
    names = connection.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND starts_with(application_name, %s)",
        [f"{NAME} "],
    )
    return {str(name).removeprefix(f"{NAME} ") for (name,) in names}


def create_engine(database_url: str) -> Engine:
    """Return an SQLAlchemy engine on the same connections, for migrations."""

    def open_connection() -> psycopg.Connection:
        connection = connect(database_url)
        connection.autocommit = False  # SQLAlchemy means its transactions
        return connection

    return sqlalchemy_engine("postgresql+psycopg://", creator=open_connection, poolclass=NullPool)


def parameters(database_url: str) -> dict[str, Any]:
    """Return what libpq is to be told to connect to `database_url`."""
    url = make_url(database_url)
    # Not as an address again: libpq does not read a + in it as a space, as SQLAlchemy writes it.
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": NAME,
        **url.translate_connect_args(username="user", database="dbname"),
        **options,
    }
