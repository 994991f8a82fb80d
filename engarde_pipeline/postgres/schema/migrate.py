"""Schema migrations, run by Alembic from inside the package, so that they work wherever it is installed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.postgres.connection import create_engine
from engarde_pipeline.postgres.schema import application_schema, before_upgrade, composite_key, newer_schema
from engarde_pipeline.postgres.schema.refusals import MigrationRefused, refusals

_MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "engarde_alembic_version"
"""The pipeline's version table; the application may have an `alembic_version` in the same schema."""

LOCK_TIMEOUT = "900ms"
"""A waiting ALTER TABLE blocks all later queries on the table, including readers, so the wait is short. It is
shorter than deadlock_timeout (1 s): if a reader and a migration wait for each other, the migration gives up."""

LOCK_ATTEMPTS = 30
_PAUSE_SECONDS = 2

WAIT_FOR_ANOTHER_SECONDS = 600.0


class SchemaNotCurrent(EngardeError):
    """The database's schema does not fit this version of the code."""


class SchemaNewer(SchemaNotCurrent):
    """A newer version has changed the schema incompatibly; transient, until that version is deployed here."""


def upgrade(database_url: str, revision: str = "head") -> None:
    """Upgrade the schema to `revision`; syncs and readers can continue meanwhile.

    Tables change in one transaction. Before it, an index is created concurrently, and after it, foreign keys are
    validated (see `composite_key`).

    Raises:
        MigrationRefused: there is no such revision, a newer version has migrated the database, the role may not
            change the schema, a name is taken, rows contradict a foreign key, or a table was in use at each of
            `LOCK_ATTEMPTS` attempts.
        ApplicationUnfit: the application's tables do not meet the pipeline's requirements.
    """
    with _migrating(database_url) as engine:
        with engine.begin() as connection:
            found = _check_known(connection)
            adds_key = composite_key.REVISION in _up_to(revision) - _up_to(found)
            _check_possible(connection, found, adds_key)
        with composite_key.unique_index(database_url) if adds_key else nullcontext():
            _when_unlocked(engine, lambda config: command.upgrade(config, revision))
        composite_key.validate(engine)


def downgrade(database_url: str, revision: str) -> None:
    """Downgrade the schema to `revision`; "base" removes everything that the pipeline created.

    Raises:
        MigrationRefused: as `upgrade`.
    """
    with _migrating(database_url) as engine:
        _downgrade(engine, revision)
        composite_key.validate(engine)


def _downgrade(engine: Engine, revision: str, then: Callable[[Connection], None] = lambda _: None) -> None:
    with engine.begin() as connection:
        _check_known(connection)

    def migrate(config: Config) -> None:
        command.downgrade(config, revision)
        then(config.attributes["connection"])

    _when_unlocked(engine, migrate)


@dataclass(frozen=True)
class Removal:
    """A table or a column with values that a downgrade removes."""

    name: str
    rows: int


class _Undone(Exception):
    """Rolls a downgrade back."""


def removals(database_url: str, revision: str) -> list[Removal]:
    """Return the tables and columns with values that a downgrade to `revision` would remove; change nothing.

    The downgrade is run and rolled back, because what it removes also depends on what the application owns.

    Raises:
        MigrationRefused: as `downgrade`.
    """
    after: set[tuple[str, str]] = set()

    def undo(connection: Connection) -> None:
        after.update(_columns(connection))
        raise _Undone

    with _migrating(database_url) as engine:
        with engine.begin() as connection:
            before = _columns(connection)
        with suppress(_Undone):
            _downgrade(engine, revision, undo)
    kept_tables = {table for table, _ in after}
    removed = sorted(
        {(table, column if table in kept_tables else None) for table, column in before - after}, key=str
    )
    with _opened(database_url) as connection:
        found = [_removal(connection, table, column) for table, column in removed]
    return [removal for removal in found if removal.rows]


def _columns(connection: Connection) -> set[tuple[str, str]]:
    rows = connection.execute(
        text(
            "SELECT c.relname, a.attname FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname <> :versions"
        ),
        {"versions": VERSION_TABLE},
    )
    return {(table, column) for table, column in rows}


def _removal(connection: Connection, table: str, column: str | None) -> Removal:
    quote = connection.dialect.identifier_preparer.quote
    counted = "*" if column is None else quote(column)
    rows = connection.scalar(text(f"SELECT count({counted}) FROM {quote(table)}"))  # noqa: S608  names of the catalog
    return Removal(table if column is None else f"{table}.{column}", rows or 0)


def current(database_url: str) -> str | None:
    """Return the database's revision, or None if no migration has run.

    Raises:
        SchemaNotCurrent: the role may not read it.
    """
    with _opened(database_url) as connection:
        return _current(connection)


def head() -> str:
    """Return the newest revision that this version of the code has."""
    revision = _scripts().get_current_head()
    assert revision is not None  # noqa: S101  the package ships migrations
    return revision


def is_newer(revision: str) -> bool:
    """Whether the revision is unknown to this version of the code, and so belongs to a newer one."""
    return revision not in {script.revision for script in _scripts().walk_revisions()}


def check(database_url: str) -> str:
    """Check that this version can write to the schema; return its revision.

    A newer schema is accepted if it differs only by additions.

    Raises:
        SchemaNewer: a newer schema differs in other ways.
        SchemaNotCurrent: migrations are missing.
    """
    with _opened(database_url) as connection:
        found = _current(connection)
        if found is None:
            raise SchemaNotCurrent(
                f"The database does not have the pipeline's schema yet; {head()} is needed. Run `engarde db"
                " upgrade`."
            )
        if found == head():
            return found
        if not is_newer(found):
            raise SchemaNotCurrent(
                f"The database's schema is at revision {found}, this version of the pipeline needs {head()}. Run"
                " `engarde db upgrade`."
            )
        if changes := newer_schema.incompatible_changes(connection):
            raise SchemaNewer(
                f"The database's schema is at revision {found}, which this version of the pipeline ({head()}) does"
                f" not know, and not only by additions ({'; '.join(changes)}); deploy the version that made it."
                " Runs are retried until then."
            )
    return found


@contextmanager
def _opened(database_url: str) -> Iterator[Connection]:
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        if not isinstance(error.orig, errors.InsufficientPrivilege):
            raise error.orig from None  # a lost connection is retried
        raise SchemaNotCurrent(
            f"The role may not read the schema's revision: {error.orig.diag.message_primary}. Run"
            f" GRANT SELECT ON {VERSION_TABLE} TO the role."
        ) from None
    finally:
        engine.dispose()


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _check_known(connection: Connection) -> str | None:
    found = _current(connection)
    if found is not None and is_newer(found):
        raise MigrationRefused(
            f"The database's schema is at revision {found}, which a newer version of the pipeline made; this one"
            f" knows {head()} at most. Nothing was changed. Deploy that version here, too."
        )
    return found


def _up_to(revision: str | None) -> set[str]:
    """Return `revision` and those before it."""
    return {script.revision for script in _scripts().walk_revisions("base", revision)} if revision else set()


def _check_possible(connection: Connection, found: str | None, adds_key: bool) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  `create_engine` opens no other
    tables = application_schema.check(driver, may_be_missing=found is None)
    obstacles = before_upgrade.obstacles(driver, tables, found) if found != head() else []
    if adds_key:
        obstacles += composite_key.obstacles(driver, found)
    if obstacles:
        raise MigrationRefused(
            "\n  ".join(
                [
                    "The schema cannot be upgraded yet; nothing was changed. Correct this, and upgrade again:",
                    *obstacles,
                ]
            )
        )


@contextmanager
def _migrating(database_url: str) -> Iterator[Engine]:
    """Yield an engine, while no other migration of this database runs."""
    engine = create_engine(database_url)
    try:
        with refusals(head()), engine.begin() as connection:
            _wait_for_another(connection)
            yield engine
    finally:
        engine.dispose()


def _wait_for_another(connection: Connection) -> None:
    """Lock the migrations of this database until the end of the transaction."""
    deadline = time.monotonic() + WAIT_FOR_ANOTHER_SECONDS
    # A statement that waits for the lock would have a snapshot, and CREATE INDEX CONCURRENTLY would wait for that.
    lock = text("SELECT pg_try_advisory_xact_lock(hashtext('engarde_pipeline migrations'))")
    while not connection.scalar(lock):
        if time.monotonic() > deadline:
            raise MigrationRefused(
                "Another migration of this database has been running for more than"
                f" {WAIT_FOR_ANOTHER_SECONDS:.0f} s; nothing was changed. See pg_stat_activity, and"
                " migrate again when it has ended."
            )
        time.sleep(0.1)


def _keep_writers_out(connection: Connection) -> None:
    """Wait for the writers of the metric tables, and let no other one begin before the end of the transaction.

    Their triggers write to further tables. A migration that locked one of those first could deadlock with them.
    """
    if connection.scalar(text(f"SELECT to_regclass('{VERSION_TABLE}')")) is None:
        return  # tables of these names are not the pipeline's
    for table in METRIC_TABLES:
        if connection.scalar(text(f"SELECT to_regclass('{table.target}')")):
            connection.execute(text(f"LOCK TABLE {table.target} IN SHARE ROW EXCLUSIVE MODE"))


def _when_unlocked(engine: Engine, migrate: Callable[[Config], None]) -> None:
    """Call `migrate` in a transaction of its own, again and again until it gets its locks."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                _keep_writers_out(connection)
                migrate(config)
        except DBAPIError as error:
            if not isinstance(error.orig, errors.LockNotAvailable | errors.DeadlockDetected):
                raise
            if attempt == LOCK_ATTEMPTS:
                raise MigrationRefused(
                    f"A table was in use at each of {LOCK_ATTEMPTS} attempts; nothing was changed. The statement"
                    f" was: {' '.join(str(error.statement).split())}. See pg_stat_activity for a transaction that"
                    " stays open, end it, and migrate again."
                ) from None
            time.sleep(_PAUSE_SECONDS)  # lets the queries that queued behind the attempt run first
        else:
            return
