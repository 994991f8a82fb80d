"""Connections to the target database, and what to say when there is none."""

import psycopg
from sqlalchemy import Engine
from sqlalchemy import create_engine as sqlalchemy_engine
from sqlalchemy.engine import make_url

from engarde_pipeline.errors import EngardeError

CONNECT_TIMEOUT_SECONDS = 10


class DatabaseUnavailable(EngardeError):
    """Postgres cannot be reached, or refuses the login; the message says which and what to check."""


def connect(database_url: str) -> psycopg.Connection:
    """Return a new autocommit connection; `with` closes it.

    `database_url` is any SQLAlchemy form of a Postgres address (`postgresql://`, `postgres://`,
    `postgresql+psycopg://`, ...); libpq's own variables and options in the query part are honoured.

    Raises:
        DatabaseUnavailable: no server answers there, or it refuses the user, password or database.
    """
    url = make_url(database_url)
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        return psycopg.connect(
            conninfo,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="engarde_pipeline",
        )
    except psycopg.OperationalError as error:
        # libpq's message names host, port, user and database, never the password.
        raise DatabaseUnavailable(
            f"Cannot connect to Postgres at {url.render_as_string(hide_password=True)}: "
            f"{' '.join(str(error).split())}. Check DATABASE_URL and that the server accepts this login."
        ) from None


def create_engine(database_url: str) -> Engine:
    """Return an SQLAlchemy engine on the same connections, for migrations."""
    return sqlalchemy_engine("postgresql+psycopg://", creator=lambda: connect(database_url))
