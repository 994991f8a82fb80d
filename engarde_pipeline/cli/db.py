"""`engarde db`: migrates the schema of the target database."""

from typing import Annotated

import typer

from engarde_pipeline.cli.servers import database
from engarde_pipeline.cli.terminal import console

app = typer.Typer(
    help="Migrate the schema in Postgres. The only change to the application's tables is to add missing total"
    " columns; a downgrade removes only what an upgrade created.",
    no_args_is_help=True,
)

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
def downgrade(revision: Revision) -> None:
    """Downgrade the schema to a revision; `base` removes all the pipeline created, including synced data."""
    from engarde_pipeline.postgres.schema import migrate

    with database() as settings:
        migrate.downgrade(settings.database_url.get_secret_value(), revision)
    current()


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
