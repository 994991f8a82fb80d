"""Dagster's instance, as DAGSTER_HOME names it, and what to say where it cannot be used."""

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
    """Dagster's configuration cannot be read, or its storage does not answer."""


def check_dagster_home() -> None:
    """Check that DAGSTER_HOME names a directory. A missing one is not made: a typo would begin an empty history.

    Raises:
        DagsterHomeUnusable: it does not.
    """
    value = os.environ["DAGSTER_HOME"]
    home = Path(value).expanduser()
    if not home.is_absolute():
        raise DagsterHomeUnusable(
            f"DAGSTER_HOME is {value!r}, a relative path, which Dagster refuses. Set the whole path:"
            f" DAGSTER_HOME={home.absolute()}"
        )
    try:
        is_there, is_directory = home.exists(), home.is_dir()
    except OSError as error:
        raise DagsterHomeUnusable(f"DAGSTER_HOME cannot be looked at: {error}.") from None
    if not is_there:
        raise DagsterHomeUnusable(
            f"DAGSTER_HOME is {value}, which does not exist. Correct it if it is misspelt: Dagster's history is"
            f" there. For a new history: mkdir -p {home}"
        )
    if not is_directory:
        raise DagsterHomeUnusable(f"DAGSTER_HOME is {value}, which is not a directory. Name the directory itself.")


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

    home = os.environ["DAGSTER_HOME"]
    try:
        instance = DagsterInstance.get()
    except SQLAlchemyError as error:
        raise _storage_fault(home, error) from None
    except PermissionError as error:
        raise DagsterUnavailable(
            f"DAGSTER_HOME, {home}, cannot be used: {error}. Let the user of this process own it."
        ) from None
    except (DagsterError, CheckError, yaml.YAMLError, ImportError, OSError) as error:
        # Only the first sentence: what follows can quote values, passwords among them.
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DagsterUnavailable(
            f"Dagster's configuration, {home}/dagster.yaml, cannot be used: {said} Correct it; `dagster instance"
            " info` says more."
        ) from None
    with instance:
        try:
            yield instance
        except SQLAlchemyError as error:
            raise _storage_fault(home, error) from None


def _storage_fault(home: str, error: Exception) -> DagsterUnavailable:
    # The driver's own words: SQLAlchemy's hold the statement and its values.
    said = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())
    return DagsterUnavailable(
        f"Dagster's storage of {home} cannot be used: {said}. Where it is on disk, this user must own the"
        " directory; where dagster.yaml names a database, see that it answers. After an upgrade of Dagster, run"
        " `dagster instance migrate`."
    )
