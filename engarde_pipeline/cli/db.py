"""`engarde db`: migrates the schema of the target database, and grants roles what they need in it."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli.servers import database
from engarde_pipeline.cli.terminal import console, errors, visible
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted

if TYPE_CHECKING:
    from engarde_pipeline.postgres.schema.migrate import Removal

app = typer.Typer(
    help="Migrate the schema in Postgres, and grant roles what they need. The only change to the application's"
    " tables is to add missing total columns; a downgrade removes only what an upgrade created.",
    no_args_is_help=True,
)


class Purpose(StrEnum):
    """What a role is used for."""

    SYNC = "sync"
    API = "api"
    EXPORTER = "exporter"


class NotConfirmed(EngardeError):
    """A downgrade would remove values, and nobody has confirmed that."""


Revision = Annotated[str, typer.Argument(help="A revision such as 0001.")]


@app.command()
def upgrade(revision: Revision = "head") -> None:
    """Upgrade the schema to a revision (default: the newest)."""
    from engarde_pipeline.postgres.reads import diagnosis
    from engarde_pipeline.postgres.schema import migrate

    with database() as settings:
        database_url = settings.database_url.get_secret_value()
        diagnosis.check_before_upgrade(database_url)
        migrate.upgrade(database_url, revision)
        # Checked last: a session that is unfit for a sync does not prevent the migration.
        diagnosis.check_session(database_url)
    current()


@app.command()
def downgrade(
    revision: Revision,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove tables and columns with values without asking, for scripts.")
    ] = False,
) -> None:
    """Downgrade the schema to a revision; `base` removes all the pipeline created, including synced data.

    If tables or columns with values would be removed, they are listed, and you are asked first. The next upgrade
    creates them empty.
    """
    from engarde_pipeline.postgres.schema import migrate

    with database() as settings:
        database_url = settings.database_url.get_secret_value()
        if not yes and (removals := migrate.removals(database_url, revision)):
            _confirm(revision, removals)
        migrate.downgrade(database_url, revision)
    current()


def _confirm(revision: str, removals: Sequence["Removal"]) -> None:
    listed = "\n".join(f"  {removal.name}: {counted(removal.rows, 'row')}" for removal in removals)
    said = (
        f"A downgrade to {revision} removes these tables and columns with their values:\n{listed}\n"
        "`engarde sync` can load the numbers again that BigQuery still has; the rest is lost."
    )
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{said} Nothing was changed. To remove them, run the command with --yes.")
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    if not typer.confirm("Remove them?"):
        raise NotConfirmed("Nothing was changed.")


@app.command()
def current() -> None:
    """Show the revision of the database and the newest revision."""
    from engarde_pipeline.postgres.schema import migrate

    with database() as settings:
        found = migrate.current(settings.database_url.get_secret_value())
    newest = migrate.head()
    advice = "up to date" if found == newest else "run `engarde db upgrade`"
    if found is not None and migrate.is_newer(found):
        advice = "it was made by a newer version of the pipeline; deploy that version"
    console.print(f"The schema is at revision {found or 'none'}; the newest is {newest}: {advice}.")


@app.command()
def grants(
    role: Annotated[str, typer.Option(help="The role that the process logs in with. It must exist.")],
    purpose: Annotated[
        Purpose,
        typer.Option("--for", help="What the role is for: the code server and workers, the API, or the exporter."),
    ] = Purpose.SYNC,
) -> None:
    """Grant a role all that it needs, and nothing more. Run it after each `engarde db upgrade`, as the same user.

    Example: `engarde db grants --role engarde_pipeline`
    """
    from engarde_pipeline.postgres.schema.grants import grant_api, grant_exporter, grant_sync

    granting = {Purpose.SYNC: grant_sync, Purpose.API: grant_api, Purpose.EXPORTER: grant_exporter}
    with database() as settings:
        left = granting[purpose](settings.database_url.get_secret_value(), role)
    console.print(f"{escape(visible(role))} has all that it needs in this database.")
    for statement in left:
        errors.print(
            f"[bold yellow]Warning:[/] so that it finds the tables, let an administrator run:"
            f" {escape(visible(statement))};",
            soft_wrap=True,
        )
