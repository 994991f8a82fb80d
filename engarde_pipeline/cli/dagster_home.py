"""Opens the Dagster instance in DAGSTER_HOME, and explains why it cannot be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engarde_pipeline.core.errors import EngardeError

if TYPE_CHECKING:
    from dagster import DagsterInstance


class DagsterHomeUnusable(EngardeError):
    """DAGSTER_HOME names no directory that Dagster can use."""


class DagsterUnavailable(EngardeError):
    """Dagster's configuration cannot be read, or its storage cannot be used."""


def check_dagster_home() -> None:
    """Check that DAGSTER_HOME is a directory. It is not created if missing: a typo would start an empty history.

    Raises:
        DagsterHomeUnusable: it is not.
    """
    value = os.environ["DAGSTER_HOME"]
    home = Path(value).expanduser()
    if not home.is_absolute():
        raise DagsterHomeUnusable(
            f"DAGSTER_HOME is {value!r}, a relative path, which Dagster does not accept. Set the absolute path:"
            f" DAGSTER_HOME={home.absolute()}"
        )
    try:
        exists, is_directory = home.exists(), home.is_dir()
    except OSError as error:
        raise DagsterHomeUnusable(
            f"DAGSTER_HOME cannot be accessed: {error}. Check the permissions of its directories."
        ) from None
    if not exists:
        raise DagsterHomeUnusable(
            f"DAGSTER_HOME is {value}, which does not exist. If it is misspelled, correct it: Dagster's history is"
            f" stored there. To start a new history, run: mkdir -p {home}"
        )
    if not is_directory:
        raise DagsterHomeUnusable(f"DAGSTER_HOME is {value}, which is not a directory. Set it to a directory.")


@contextmanager
def open_instance() -> Iterator["DagsterInstance"]:
    """Yield the instance of DAGSTER_HOME.

    Raises:
        DagsterUnavailable: dagster.yaml cannot be read, or the storage that it names cannot be used.
    """
    import yaml  # type: ignore[import-untyped]
    from dagster import DagsterError, DagsterInstance
    from sqlalchemy.exc import SQLAlchemyError

    from engarde_pipeline.dagster_internals import CheckError
    from engarde_pipeline.dagster_storage import DagsterPostgresException

    storage_errors = (SQLAlchemyError, DagsterPostgresException)
    home = os.environ["DAGSTER_HOME"]
    try:
        instance = DagsterInstance.get()
    except storage_errors as error:
        raise _storage_fault(home, error) from None
    except PermissionError as error:
        raise DagsterUnavailable(
            f"DAGSTER_HOME, {home}, cannot be used: {error}. Make the user of this process its owner."
        ) from None
    except (DagsterError, CheckError, yaml.YAMLError, ImportError, OSError) as error:
        # Only the first line: the following ones can quote values, including passwords.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DagsterUnavailable(
            f"Dagster's configuration, {home}/dagster.yaml, cannot be used: {reason} Correct it; `dagster instance"
            " info` shows details."
        ) from None
    with instance:
        try:
            yield instance
        except storage_errors as error:
            raise _storage_fault(home, error) from None


def _storage_fault(home: str, error: Exception) -> DagsterUnavailable:
    # The driver's message: SQLAlchemy's contains the statement and its values. After the last attempt to connect,
    # SQLAlchemy's error is the cause.
    fault = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None)
    reason = " ".join(str(fault or type(error).__name__).split())
    return DagsterUnavailable(
        f"Dagster's history cannot be used: {reason}. If it is in Postgres, check that the database of"
        f" DAGSTER_DATABASE_URL exists and is reachable. If it is on disk, in {home}, make this user the owner of"
        " the directory. After an upgrade of Dagster, run `dagster instance migrate`."
    )
