"""Turns the errors of a migration into one that says what is wrong and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic.util import CommandError
from psycopg import errors
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from engarde_pipeline.core.errors import EngardeError

_CURES: dict[type[psycopg.Error], str] = {
    errors.InsufficientPrivilege: "Migrate with the role that owns the application's tables.",
    errors.ReadOnlySqlTransaction: "Migrate on the primary server, with a role that may write.",
    errors.DependentObjectsStillExist: "Drop what depends on it, migrate, and create it again.",
    errors.QueryCanceled: "The migration was cancelled. Migrate again.",
    **dict.fromkeys(
        (
            errors.DuplicateTable,
            errors.DuplicateObject,
            errors.DuplicateFunction,
            errors.DuplicateSchema,
            errors.DuplicateColumn,
        ),
        "It does not belong to the pipeline. Rename it (ALTER ... RENAME TO ...), and migrate again.",
    ),
}
"""What to do if Postgres refuses a statement of a migration."""


class MigrationRefused(EngardeError):
    """The schema cannot be migrated; nothing was changed unless the message says so."""


@contextmanager
def refusals(newest: str) -> Iterator[None]:
    """Raise `MigrationRefused` for what Alembic and Postgres refuse; `newest` is the newest revision.

    Raises:
        MigrationRefused: they refused a step of the block.
    """
    try:
        yield
    except CommandError as error:
        raise MigrationRefused(f"{error}. The newest revision is {newest}.") from None
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise _refused(error.orig, error.statement) from None
    except psycopg.Error as error:
        raise _refused(error, None) from None
    except SQLAlchemyError as error:
        raise MigrationRefused(
            f"The schema differs from what the migration expects: {error}. Nothing was changed."
        ) from None


def _refused(error: psycopg.Error, statement: str | None) -> MigrationRefused:
    """Return the error for a statement that Postgres refuses."""
    reason = ". ".join(filter(None, (error.diag.message_primary, error.diag.message_detail))) or str(error).strip()
    at = f" The statement was: {' '.join(statement.split())[:200]}" if statement else ""
    cure = next(
        (cure for kind, cure in _CURES.items() if isinstance(error, kind)), "Correct this, and migrate again."
    )
    return MigrationRefused(f"Postgres refuses to migrate: {reason}. Nothing was changed. {cure}{at}")
