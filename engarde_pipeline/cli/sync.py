"""`engarde sync`: sync dates, or a slice of them, now."""

from contextlib import ExitStack
from typing import Annotated

import typer

from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import EndDate, StartDate, console


def sync(
    start: StartDate,
    end: EndDate,
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant (uuid). Narrows the sync to a slice.")
    ] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Only this ad platform; can be given several times.")
    ] = None,
    campaign: Annotated[
        list[str] | None,
        typer.Option(help="Only this campaign: a campaign space's uuid or the platform's id; several times."),
    ] = None,
    allow_shrink: Annotated[
        bool,
        typer.Option("--allow-shrink", help="Sync even if BigQuery has far fewer rows: they are meant to go."),
    ] = False,
) -> None:
    """Sync every date from --start to --end as one Dagster run, then the totals.

    Narrowed to a tenant, platforms or campaigns it is a slice: just that part is replaced, and no date is
    marked as synced. Running it again changes nothing. Ctrl-C cancels the run; the dates that landed stay.

    Example: `engarde sync --start 2026-11-01 --end 2026-11-07`
    """
    from engarde_pipeline.cli.report import print_sync
    from engarde_pipeline.cli.runs import run_job
    from engarde_pipeline.core.dates import InvalidDates, dates_between
    from engarde_pipeline.postgres.reads import diagnosis
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.run_config import range_run, slice_run

    try:
        dates = dates_between(start.date(), end.date())
    except InvalidDates as error:
        raise typer.BadParameter(str(error)) from None
    with ExitStack() as stack:
        settings = stack.enter_context(servers())
        migrate.check(settings.database_url.get_secret_value())
        diagnosis.check_session(settings.database_url.get_secret_value())
        instance = stack.enter_context(dagster_instance())
        if tenant or platform or campaign:
            wanted = slice_run(
                dates[0],
                dates[-1],
                tenant=tenant,
                platforms=platform or [],
                campaigns=campaign or [],
                allow_shrink=allow_shrink,
            )
        else:
            wanted = range_run(dates[0], dates[-1], allow_shrink=allow_shrink)
        run = run_job(instance, wanted, 2 * len(dates))
        print_sync(run, settings, dates)
    if not run.succeeded:
        first = "Correct what is named above and run" if run.reasons else "Run"
        console.print(f"{first} the same command again: landed dates cost little.")
        raise typer.Exit(1)
