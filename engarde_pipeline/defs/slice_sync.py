"""The job `slice_sync`: syncs only some tenant's, platforms' or campaigns' part of a range of dates.

A slice is recorded as observations of the assets, and never marks a date as synced (rule 8).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from uuid import UUID

from dagster import OpExecutionContext, in_process_executor, job, op
from pydantic import Field

from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.dates import InvalidDates, dates_between
from engarde_pipeline.core.errors import InvalidInput
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.defs.interruption import stopping_between_dates
from engarde_pipeline.defs.landing import SyncConfig, explained
from engarde_pipeline.defs.metadata import changes_metadata
from engarde_pipeline.defs.outcomes import (
    dry_run_observation,
    failed_observation,
    failure,
    slice_observation,
    transient,
)
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import resolve_scope
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.runs.sync_runs import is_dry_run
from engarde_pipeline.runs.tags import ALL_TENANTS, TENANT, record_counts, record_dates, record_not_landing
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.dates import FailedDate
from engarde_pipeline.sync.slices import sync_slice


class SliceConfig(SyncConfig):
    """The slice and its dates. At least one of tenant, platforms and campaigns is required."""

    start: str = Field(description="The first date, as YYYY-MM-DD.")
    end: str = Field(description="The last date, as YYYY-MM-DD; it is included.")
    tenant: str | None = Field(default=None, description="The uuid of a tenant: sync only this tenant's rows.")
    platforms: list[str] = Field(
        default_factory=list, description="Ad platforms as in campaign_spaces.platform, such as meta or google."
    )
    campaigns: list[str] = Field(
        default_factory=list,
        description="Campaigns, as campaign space uuids or as ids on the ad platform.",
    )


class EmptySlice(InvalidInput):
    """The slice is not restricted to a tenant, platforms or campaigns."""


@op
def sync_the_slice(
    context: OpExecutionContext, config: SliceConfig, bigquery: BigQuery, postgres: Postgres
) -> None:
    """Replace the slice's rows date by date, then update the totals; a dry run only reports what would change."""
    dry_run = is_dry_run(context.run)
    failed: dict[MetricTable, list[FailedDate]] = {table: [] for table in METRIC_TABLES}
    landed = {table: Counts() for table in METRIC_TABLES}
    context.instance.add_run_tags(context.run.run_id, {TENANT: (config.tenant or ALL_TENANTS).lower()})
    with (
        stopping_between_dates(context.instance, context.run.run_id) as is_stopping,
        explained(),
        _recorded_counts(context, landed),
        postgres.connect(context.run.run_id) as connection,
    ):
        if not (config.tenant or config.platforms or config.campaigns):
            raise EmptySlice(
                "Give a tenant, platforms or campaigns. To sync whole dates, use the job performance_sync."
            )
        dates = dates_between(_date(config.start), _date(config.end))
        record_dates(context.instance, context.run, dates[0], dates[-1])
        scope = resolve_scope(connection, config.tenant, config.platforms, config.campaigns)
        settings = load_pipeline_settings()
        options = LoadOptions(
            UUID(context.run.run_id),
            settings.engarde_shrink_threshold,
            settings.engarde_growth_threshold,
            scope,
            dry_run=dry_run,
            allowed=config.allowed,
        )
        outcomes = sync_slice(dates, bigquery.open_source(count=not dry_run), connection, options)
        for table, outcome in outcomes:
            if isinstance(outcome, FailedDate):
                did_not = "would not" if dry_run else "did not"
                context.log.error(f"{table.target} {outcome.day} {did_not} land: {outcome.error}")
                failed[table].append(outcome)
            else:
                landed[table] += outcome.merged.counts
            if dry_run:
                context.log_event(dry_run_observation(table, outcome, _slice(config)))
            elif isinstance(outcome, FailedDate):
                context.log_event(failed_observation(table, outcome, _slice(config)))
            else:
                merged = outcome.merged
                context.log_event(
                    slice_observation(
                        table, outcome.day, _slice(config), merged.counts.sentence, changes_metadata(merged)
                    )
                )
            if is_stopping():
                return
        if not dry_run:
            update_totals(connection)
    all_failed = [outcome for of_table in failed.values() for outcome in of_table]
    if dry_run:
        for table, of_table in failed.items():
            record_not_landing(context.instance, context.run.run_id, table, [outcome.day for outcome in of_table])
        all_failed = transient(all_failed)
    if all_failed:
        raise failure(all_failed, len(dates), dry_run)


@job(
    executor_def=in_process_executor,
    description="Sync only the rows of a tenant, of ad platforms or of campaigns for a range of dates. Other rows"
    " are not changed, and no date is marked as synced.",
)
def slice_sync() -> None:
    """Sync a slice; see `SliceConfig`."""
    sync_the_slice()


@contextmanager
def _recorded_counts(context: OpExecutionContext, landed: Mapping[MetricTable, Counts]) -> Iterator[None]:
    """Record what landed on the run, however it ends."""
    try:
        yield
    finally:
        for table, counts in landed.items():
            record_counts(context.instance, context.run.run_id, table, counts)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidDates(f"{text!r} is not a date; write it as YYYY-MM-DD.") from None


def _slice(config: SliceConfig) -> str:
    return ", ".join(
        [
            *([f"tenant {config.tenant}"] if config.tenant else []),
            *(f"platform {platform}" for platform in config.platforms),
            *(f"campaign {campaign}" for campaign in config.campaigns),
        ]
    )
