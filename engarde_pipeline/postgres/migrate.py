"""Schema migrations, run by Alembic from inside the package, so that they work wherever it is installed."""

import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, LockNotAvailable
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.postgres.connection import create_engine

_MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "engarde_alembic_version"
"""Our own version table: the application may keep its own `alembic_version` in the same schema."""

LOCK_TIMEOUT = "2s"
"""A waiting ALTER TABLE holds up whoever comes after it, plain readers included: so long, and no longer."""

LOCK_ATTEMPTS = 30
_PAUSE_SECONDS = 2


class SchemaNotCurrent(EngardeError):
    """The database's schema is not the one this version of the code writes to."""


class MigrationRefused(EngardeError):
    """The schema cannot be migrated as asked; nothing was changed."""


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`, in one transaction; syncs and readers may go on.

    Raises:
        MigrationRefused: there is no such revision, the role may not change the schema, or a table was in use
            at each of `LOCK_ATTEMPTS` attempts.
    """
    _run(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str) -> None:
    """Bring the schema down to `revision` ("base" removes everything the pipeline created).

    Raises:
        MigrationRefused: as `upgrade`.
    """
    _run(database_url, lambda config: command.downgrade(config, revision))


def current(database_url: str) -> str | None:
    """Return the database's revision, or None where no migration has run."""
    with create_engine(database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return context.get_current_revision()


def head() -> str:
    """Return the newest revision this version of the code knows."""
    revision = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert revision is not None  # noqa: S101  the package ships migrations
    return revision


def check(database_url: str) -> None:
    """Check that the schema is current, before anything is written to it.

    Raises:
        SchemaNotCurrent: migrations are missing, or newer than this code.
    """
    found = current(database_url)
    if found != head():
        raise SchemaNotCurrent(
            f"The database's schema is at revision {found or 'none'}, this version of the pipeline needs"
            f" {head()}. Run `engarde db upgrade`; if that does not know {found}, deploy the version that does."
            if found
            else f"The database has no schema of the pipeline yet; {head()} is needed. Run `engarde db upgrade`."
        )


def _run(database_url: str, migrate: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    engine = create_engine(database_url)
    try:
        _when_unlocked(engine, config, migrate)
    except CommandError as error:
        raise MigrationRefused(f"{error}. The newest revision is {head()}.") from None
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        raise MigrationRefused(
            f"The role may not change the schema: {error.orig.diag.message_primary}. Migrate with the role that"
            " owns the application's tables."
        ) from None
    finally:
        engine.dispose()


def _when_unlocked(engine: Engine, config: Config, migrate: Callable[[Config], None]) -> None:
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                config.attributes["connection"] = connection
                migrate(config)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            if attempt == LOCK_ATTEMPTS:
                raise MigrationRefused(
                    f"A table was in use at each of {LOCK_ATTEMPTS} attempts; nothing was changed. Postgres was"
                    f" at: {' '.join(str(error.statement).split())}. See pg_stat_activity for a transaction that"
                    " stays open, end it, and migrate again."
                ) from None
            time.sleep(_PAUSE_SECONDS)  # those who queued behind the attempt go first
        else:
            return
