"""`engarde sync`: syncs dates, or a slice of them."""

from contextlib import ExitStack
from typing import Annotated

import typer

from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import EndDate, StartDate, console, range_of_dates


def sync(
    start: StartDate,
    end: EndDate = None,
    tenant: Annotated[str | None, typer.Option(help="Sync only this tenant (name or UUID).")] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Sync only this ad platform. Can be repeated.")
    ] = None,
    campaign: Annotated[
        list[str] | None,
        typer.Option(
            help="Sync only this campaign: the UUID of a campaign space, or the platform's id. Can be repeated.",
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, and show what a sync would change and cost.")
    ] = False,
) -> None:
    """Sync all dates from --start to --end in one Dagster run, then update the campaigns' totals.

    With --tenant, --platform or --campaign only that part of each date is replaced (a slice), and no date is
    marked as synced. A sync can be repeated at any time: it writes only what differs. Ctrl-C cancels the run;
    dates that were committed stay.

    The exit code is 1 if some dates did not land. Dates for which BigQuery has no rows are named in a warning,
    and are no failure. With --dry-run, the same sync runs and is rolled back; the exit code is 1 if some dates
    would not land.

    Examples: `engarde sync --start 2026-11-01 --end 2026-11-07`, `engarde sync --start -7d`
    """
    from engarde_pipeline.cli.dry_run import print_dry_run, print_estimate
    from engarde_pipeline.cli.report import print_empty_dates, print_end, print_sync
    from engarde_pipeline.cli.runs import run_job
    from engarde_pipeline.postgres.reads import diagnosis
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.run_config import SyncOptions, sync_run

    dates = range_of_dates(start, end)
    with ExitStack() as stack:
        settings = stack.enter_context(servers())
        migrate.check(settings.database_url.get_secret_value())
        diagnosis.check_session(settings.database_url.get_secret_value())
        instance = stack.enter_context(dagster_instance())
        options = SyncOptions(allow_shrink, allow_growth, dry_run)
        if dry_run:
            print_estimate(settings, dates, tenant, platform or [], campaign or [])
        spec = sync_run(dates, tenant=tenant, platforms=platform or [], campaigns=campaign or [], options=options)
        is_slice = bool(tenant or platform or campaign)
        run = run_job(instance, spec, 2 * len(dates))
        if dry_run:
            would_land = print_dry_run(run)
            print_empty_dates(run, is_slice=is_slice)
            print_end(run)
            raise typer.Exit(0 if run.succeeded and would_land else 1)
        print_sync(run, settings, dates, is_slice=is_slice)
    if not run.succeeded:
        first = "Fix what is reported above, then run" if run.reasons else "Run"
        console.print(f"{first} the same command again. Dates that were committed are not written again.")
        raise typer.Exit(1)
