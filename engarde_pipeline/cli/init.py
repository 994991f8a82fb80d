"""`engarde init`: writes the files that a deployment needs into DAGSTER_HOME."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli.dagster_files import INSTANCE, WORKSPACE, shipped
from engarde_pipeline.cli.terminal import console, errors, visible
from engarde_pipeline.core.errors import EngardeError

_ROLE_SCRIPT = "postgres-role.sql"


class Launcher(StrEnum):
    """Where runs are executed."""

    PROCESS = "process"
    CELERY = "celery"
    KUBERNETES = "kubernetes"


class NoDirectory(EngardeError):
    """Neither an argument nor DAGSTER_HOME says where to write the files."""


class NotWritten(EngardeError):
    """Files exist with another content."""


def init(
    directory: Annotated[Path | None, typer.Argument(help="The directory; default: DAGSTER_HOME.")] = None,
    launcher: Annotated[
        Launcher, typer.Option(help="Where runs are executed: by the code server, by Celery workers, or as jobs.")
    ] = Launcher.PROCESS,
) -> None:
    """Write dagster.yaml, workspace.yaml and postgres-role.sql.

    A file that exists with another content is kept; the new one is written beside it as `<name>.new`.

    Example: `engarde init /opt/dagster --launcher celery`
    """
    if directory is None and not os.environ.get("DAGSTER_HOME"):
        raise NoDirectory("Set DAGSTER_HOME, or name a directory: engarde init DIRECTORY")
    home = (directory or Path(os.environ["DAGSTER_HOME"])).expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        kept = [file for name, text in _files(launcher).items() if (file := _write(home / name, text))]
    except OSError as error:
        raise NotWritten(f"{error}. Check the permissions of the directory.") from None
    if kept:
        raise NotWritten(
            f"These files exist with another content and were kept: {', '.join(file.name for file in kept)}. "
            f"Compare each with the new one, {kept[0]}.new, and rename that to use it."
        )
    has_workers = launcher is Launcher.CELERY
    broker, worker = (", ENGARDE_BROKER_URL", ", `engarde worker`") if has_workers else ("", "")
    console.print(
        f"Next: set DAGSTER_HOME={home}, DAGSTER_DATABASE_URL, ENGARDE_CODE_SERVER_HOST,"
        f" ENGARDE_CODE_SERVER_PORT{broker} and the variables in docs/processes.md, and start `engarde"
        f" code-server`, `engarde daemon`, `engarde ui`{worker}.",
        soft_wrap=True,
    )


def _files(launcher: Launcher) -> dict[str, str]:
    instance = shipped(INSTANCE).read_text().rstrip()
    block = shipped(f"deploy/run-launcher-{launcher.value}.yaml").read_text()
    return {
        INSTANCE: f"{instance}\n\n{block}",
        WORKSPACE: shipped(f"deploy/{WORKSPACE}").read_text(),
        _ROLE_SCRIPT: shipped(f"deploy/{_ROLE_SCRIPT}").read_text(),
    }


def _write(file: Path, text: str) -> Path | None:
    """Write a file and say so; return it if it exists with another content and was kept."""
    if not file.exists():
        file.write_text(text)
        console.print(f"Wrote {escape(visible(str(file)))}", soft_wrap=True)
        return None
    if file.read_text(errors="replace") == text:
        console.print(f"Unchanged: {escape(visible(str(file)))}", soft_wrap=True)
        return None
    file.with_name(f"{file.name}.new").write_text(text)
    errors.print(f"[yellow]Kept[/] {escape(visible(str(file)))}", soft_wrap=True)
    return file
