"""The job `slice_sync`: syncs only some tenant's, platforms' or campaigns' part of a range of dates.

A slice is recorded as observations of the assets, and never marks a date as synced (rule 8). Its configuration is
checked before the run is created, against what is in Postgres at that moment.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from dagster import (
    ConfigMapping,
    DagsterError,
    JobDefinition,
    OpExecutionContext,
    in_process_executor,
    job,
    op,
)
from dagster import Field as ConfigField
from pydantic import Field

from engarde_pipeline.core.addresses import with_connect_timeout
from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.dates import InvalidDates, dates_between
from engarde_pipeline.core.errors import EngardeError, InvalidInput
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
from engarde_pipeline.postgres.advisory_locks import LockWait
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import Scope, UnknownSlice, platforms, resolve_scope, tenant_names
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.postgres.totals.metric_blocks import update_blocks
from engarde_pipeline.runs.run_config import SLICE_OP
from engarde_pipeline.runs.sync_runs import describe_run, is_dry_run
from engarde_pipeline.runs.tags import ALL_TENANTS, TENANT, record_counts, record_dates, record_not_landing
from engarde_pipeline.settings import load_pipeline_settings, load_settings
from engarde_pipeline.sync.dates import FailedDate
from engarde_pipeline.sync.slices import sync_slice
from engarde_pipeline.telemetry.spans import span


class SliceConfig(SyncConfig):
    """The slice and its dates. At least one of tenant, platforms and campaigns is required."""

    start: str = Field(description="The first date, as YYYY-MM-DD.")
    end: str = Field(description="The last date, as YYYY-MM-DD; it is included.")
    tenant: str | None = Field(
        default=None, description="Sync only the rows of this tenant: its name or its uuid, such as Acme."
    )
    platforms: list[str] = Field(
        default=[],
        description="Sync only the rows of these ad platforms, such as [meta, google].",
    )
    campaigns: list[str] = Field(
        default=[],
        description="Sync only the rows of these campaigns: their ids on the ad platform, or the uuids of campaign"
        " spaces.",
    )

    @property
    def dates(self) -> list[date]:
        """The dates of the slice.

        Raises:
            InvalidDates: `start` or `end` is not a date, or cannot be synced.
        """
        return dates_between(_date(self.start), _date(self.end))

    def scope(self, connection: psycopg.Connection) -> Scope:
        """Return what the slice is limited to; raises as `resolve_scope`."""
        return resolve_scope(connection, self.tenant, self.platforms, self.campaigns)


_NAMES_SHOWN = 50
"""How many tenants and platforms a description lists."""


class InvalidSlice(InvalidInput, DagsterError):
    """The configuration of a slice cannot be synced, so no run is created.

    Dagster shows the message of a `DagsterError` as it is.
    """


def _checked(run_config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration as it is, if it can be synced. Dagster calls this before it creates a run.

    Raises:
        InvalidSlice: the dates cannot be synced, nothing limits the slice, or Postgres has no such tenant,
            platform or campaign.
    """
    config = SliceConfig(**run_config["ops"][SLICE_OP]["config"])
    if not (config.tenant or config.platforms or config.campaigns):
        raise InvalidSlice(
            "Give a tenant, platforms or campaigns. To sync whole dates, use the job performance_sync."
        )
    try:
        _ = config.dates
        with connect(load_settings().database_url.get_secret_value()) as connection:
            config.scope(connection)
    except (InvalidDates, UnknownSlice) as error:
        raise InvalidSlice(str(error)) from None
    except (EngardeError, psycopg.Error):
        pass  # the run says what is wrong with Postgres, and may find it restarted
    return run_config


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
        stopping_between_dates(context.instance, context.run) as is_stopping,
        explained(),
        _recorded_counts(context, landed),
        postgres.connect(context.run.run_id) as connection,
    ):
        dates, scope = config.dates, config.scope(connection)
        record_dates(context.instance, context.run, dates[0], dates[-1])
        if scope.tenant_id:
            context.instance.add_run_tags(context.run.run_id, {TENANT: str(scope.tenant_id)})
        wait = LockWait(is_stopping, partial(describe_run, context.instance))
        settings = load_pipeline_settings()
        options = LoadOptions(
            UUID(context.run.run_id),
            settings.engarde_shrink_threshold,
            settings.engarde_growth_threshold,
            scope,
            dry_run=dry_run,
            allowed=config.allowed,
            lock_wait=wait,
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
            with span("update totals"):
                update_totals(connection, wait)
                update_blocks(connection, wait)
    all_failed = [outcome for of_table in failed.values() for outcome in of_table]
    if dry_run:
        for table, of_table in failed.items():
            record_not_landing(context.instance, context.run.run_id, table, [outcome.day for outcome in of_table])
        all_failed = transient(all_failed)
    if all_failed:
        raise failure(all_failed, len(dates), dry_run)


def slice_sync_job() -> JobDefinition:
    """Return the job. Its launchpad lists the tenants and platforms that Postgres has now, if it responds."""
    schema = {
        "ops": {SLICE_OP: {"config": _fields_with_names()}},
        # Parts of every run's configuration, which Dagster checks afterwards.
        **{part: ConfigField(dict, is_required=False) for part in ("execution", "loggers", "resources")},
    }

    @job(
        config=ConfigMapping(_checked, schema),
        executor_def=in_process_executor,
        description="Sync only the rows of a tenant, of ad platforms or of campaigns for a range of dates. Other"
        " rows are not changed, and no date is marked as synced.",
    )
    def slice_sync() -> None:
        sync_the_slice()

    return slice_sync


def _fields_with_names() -> dict[str, ConfigField]:
    """Return the fields of `SliceConfig`; the descriptions list what Postgres has."""
    fields = SliceConfig.to_fields_dict()
    try:
        # A code location loads within seconds even if Postgres does not respond.
        with connect(with_connect_timeout(load_settings().database_url.get_secret_value(), 2)) as connection:
            names = {"tenant": tenant_names(connection), "platforms": platforms(connection)}
    except (EngardeError, psycopg.Error):
        return fields
    for name, known in names.items():
        others = f" and {len(known) - _NAMES_SHOWN:,} more" if len(known) > _NAMES_SHOWN else ""
        listed = ", ".join(known[:_NAMES_SHOWN]) + others
        fields[name] = ConfigField(
            fields[name].config_type,
            default_value=fields[name].default_value,
            is_required=False,
            description=f"{fields[name].description} When the code location was loaded, there were:"
            f" {listed or 'none'}.",
        )
    return fields


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
