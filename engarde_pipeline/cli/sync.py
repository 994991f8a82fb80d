"""`engarde sync`: syncs dates, or a slice of them."""

from contextlib import ExitStack
from typing import Annotated

import typer

from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import EndDate, StartDate, console


def sync(
    start: StartDate,
    end: EndDate,
    tenant: Annotated[str | None, typer.Option(help="Sync only this tenant (UUID).")] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Sync only this ad platform. Can be repeated.")
    ] = None,
    campaign: Annotated[
        list[str] | None,
        typer.Option(
            help="Sync only this campaign: the UUID of a campaign space, or the platform's id. Can be repeated."
        ),
    ] = None,
    allow_shrink: Annotated[
        bool,
        typer.Option(
            "--allow-shrink", help="Sync even if most rows of a date would be deleted, which is refused otherwise."
        ),
    ] = False,
    allow_growth: Annotated[
        bool,
        typer.Option(
            "--allow-growth",
            help="Sync even if a date looks as if its load had run twice, which is refused otherwise.",
        ),
    ] = False,
) -> None:
    """Sync all dates from --start to --end in one Dagster run, then update the campaigns' totals.

    With --tenant, --platform or --campaign only that part of each date is replaced (a slice), and no date is
    marked as synced. A sync can be repeated at any time: it writes only what differs. Ctrl-C cancels the run;
    dates that were committed stay.

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
            spec = slice_run(
                dates[0],
                dates[-1],
                tenant=tenant,
                platforms=platform or [],
                campaigns=campaign or [],
                allow_shrink=allow_shrink,
                allow_growth=allow_growth,
            )
        else:
            spec = range_run(dates[0], dates[-1], allow_shrink=allow_shrink, allow_growth=allow_growth)
        run = run_job(instance, spec, 2 * len(dates))
        print_sync(run, settings, dates)
    if not run.succeeded:
        first = "Fix what is reported above, then run" if run.reasons else "Run"
        console.print(f"{first} the same command again. Dates that were committed are not written again.")
        raise typer.Exit(1)
