"""Syncs the partitions of an asset and records a materialization for each date as it is committed."""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import UUID

import psycopg
from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    Config,
    Failure,
    Output,
)
from pydantic import Field

from engarde_pipeline.bigquery.changes import read_versions
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.date_states import MISSING_TABLE, is_provisional
from engarde_pipeline.core.errors import EngardeError, InvalidInput
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.dagster_internals import (
    DATA_VERSION_TAG,
    NO_MATERIALIZATIONS_AT_THE_END,
    RETRY_NUMBER_TAG,
    forget_planned_checks,
    log_materializations,
)
from engarde_pipeline.defs.date_checks import record_results, synced_dates
from engarde_pipeline.defs.interruption import stopping_between_dates
from engarde_pipeline.defs.metadata import date_metadata, target_lineage
from engarde_pipeline.defs.outcomes import (
    disable_retries,
    dry_run_observation,
    failed_observation,
    failure,
    transient,
)
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.advisory_locks import LockWait, WaitStopped
from engarde_pipeline.postgres.faults import message_of
from engarde_pipeline.postgres.load.held_dates import DateHasGrown, DateWouldShrink
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.synced_dates import note_synced
from engarde_pipeline.runs.attempts import CAUSE, INVALID_INPUT
from engarde_pipeline.runs.history import landed_before
from engarde_pipeline.runs.sync_runs import describe_run, is_dry_run
from engarde_pipeline.runs.tags import MANUAL, REASON, record_counts, record_dates, record_not_landing
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline.sync.faults import is_transient
from engarde_pipeline.sync.parallel import sync_in_parallel
from engarde_pipeline.telemetry.spans import span


class SyncConfig(Config):
    """The options of a sync besides its dates."""

    allow_shrink: bool = Field(
        default=False,
        description="Sync dates even if BigQuery has far fewer rows for them than Postgres. Use it only when the"
        " missing rows are meant to be deleted: rows that BigQuery no longer has are removed from Postgres.",
    )

    allow_growth: bool = Field(
        default=False,
        description="Sync dates even if their source rows look repeated, or if BigQuery has far more for them than"
        " at their last sync. Use it only when the numbers in BigQuery are right.",
    )

    dry_run: bool = Field(
        default=False,
        description="Write nothing, and report what a sync would do: an observation of each date has the counts,"
        " the sums before and after, and the largest changes by campaign. Set for one asset, it applies to the"
        " whole run.",
    )

    @property
    def allowed(self) -> frozenset[str]:
        """The options by which dates land that would be held (rules 5 and 12)."""
        return frozenset(name for name in (DateWouldShrink.option, DateHasGrown.option) if getattr(self, name))


def sync_partitions(
    context: AssetExecutionContext,
    table: MetricTable,
    config: SyncConfig,
    bigquery: BigQuery,
    postgres: Postgres,
) -> Output[None]:
    """Sync the run's partitions of `table`, materializing each date as it lands.

    A dry run writes nothing and logs an observation of each date (rule 16). It succeeds even if dates would not
    land.

    Raises:
        Failure: BigQuery or Postgres cannot be used, or dates did not land; those that landed stay materialized.
        DagsterExecutionInterruptedError: the process was asked to end; the dates that landed are materialized.
    """
    try:
        with span("sync", table=table.target):
            return _sync(context, table, config, bigquery, postgres)
    except BaseException:
        # Dagster skips the steps of the checks. The dates keep the results that they have.
        forget_planned_checks(context.instance, context.run.run_id)
        raise


def _sync(
    context: AssetExecutionContext, table: MetricTable, config: SyncConfig, bigquery: BigQuery, postgres: Postgres
) -> Output[None]:
    asked = [date.fromisoformat(key) for key in context.partition_keys]
    dry_run = is_dry_run(context.run)
    record_dates(context.instance, context.run, asked[0], asked[-1])
    if dry_run:
        forget_planned_checks(context.instance, context.run.run_id)
    landed = Counts()
    failed: list[FailedDate] = []
    started = time.monotonic()
    unfinished = set(asked)
    with (
        stopping_between_dates(context.instance, context.run) as is_stopping,
        explained(),
        nullcontext() if dry_run else _observed_faults(context, table, unfinished),
    ):
        source = bigquery.open_source(count=not dry_run)
        source_table = source.find(table)
        if source_table is None:
            _mark_without_source(context, postgres, table, asked, dry_run)
            return Output(None, metadata=NO_MATERIALIZATIONS_AT_THE_END)
        read_at = datetime.now(UTC)
        # Read the versions before the data: a partition that changes during the read gets a new version and is
        # synced again.
        versions = read_versions(source, source_table, asked).among(asked)
        dates = asked if dry_run else _not_landed_before(context, asked)
        if not dates:
            return Output(None, metadata={**landed.published, **NO_MATERIALIZATIONS_AT_THE_END})
        run_id = UUID(context.run.run_id)
        reason = context.run.tags.get(REASON, MANUAL)
        # A dry run holds the locks on the source keys that it notes until its end, which would stop other writers.
        settings = load_pipeline_settings()
        writers = 1 if dry_run else settings.engarde_writers
        connect = partial(postgres.connect, context.run.run_id)
        options = LoadOptions(
            run_id,
            settings.engarde_shrink_threshold,
            settings.engarde_growth_threshold,
            versions=versions,
            dry_run=dry_run,
            allowed=config.allowed,
            read_at=read_at,
            lock_wait=LockWait(is_stopping, partial(describe_run, context.instance)),
        )
        outcomes = sync_in_parallel(table, dates, source, connect, options, writers)
        with ExitStack() as stack:
            stack.callback(lambda: record_counts(context.instance, context.run.run_id, table, landed))
            stack.enter_context(closing(outcomes))
            numbers = itertools.count(1)
            for arrived in outcomes:
                materializations = []
                for outcome in arrived:
                    number = next(numbers)
                    unfinished.discard(outcome.day)
                    if isinstance(outcome, FailedDate):
                        did_not = "would not" if dry_run else "did not"
                        context.log.error(
                            f"{outcome.day} {did_not} land ({number} of {len(dates)}): {outcome.error}"
                        )
                        failed.append(outcome)
                    else:
                        landed += outcome.merged.counts
                    if dry_run:
                        context.log_event(dry_run_observation(table, outcome))
                    elif isinstance(outcome, FailedDate):
                        context.log_event(failed_observation(table, outcome))
                    else:
                        progress = _progress(number, len(dates), landed, time.monotonic() - started)
                        materializations.append(
                            _materialization(table, outcome, progress, reason, versions.get(outcome.day))
                        )
                log_materializations(context.op_execution_context, _with_lineage(table, materializations))
        if failed and not dry_run:
            _check(context, table, asked, source, postgres)
    if dry_run:
        record_not_landing(context.instance, context.run.run_id, table, [outcome.day for outcome in failed])
        failed = transient(failed)
    if failed:
        raise failure(failed, len(asked), dry_run)
    return Output(None, metadata={**landed.published, **NO_MATERIALIZATIONS_AT_THE_END})


def _check(
    context: AssetExecutionContext, table: MetricTable, days: list[date], source: Source, postgres: Postgres
) -> None:
    """Run the checks of the dates of a step that fails: Dagster skips the step with its checks."""
    selection = context.run.asset_check_selection
    names = None if selection is None else {key.name for key in selection if key.asset_key == context.asset_key}
    try:
        with postgres.connect(context.run.run_id) as connection:
            run = context.op_execution_context
            record_results(run, synced_dates(run, table, days, source, connection), names)
    except (EngardeError, psycopg.Error) as error:
        context.log.warning(f"The dates could not be checked. {message_of(error)}")


def _materialization(
    table: MetricTable, synced: SyncedDate, progress: str, reason: str, version: str | None
) -> AssetMaterialization:
    return AssetMaterialization(
        asset_key=AssetKey(table.target),
        partition=synced.day.isoformat(),
        description=progress + synced.merged.counts.sentence,
        metadata={"reason": reason, **date_metadata(synced, is_provisional(synced.day))},
        tags=_version_tags(version),
    )


def _with_lineage(table: MetricTable, materializations: list[AssetMaterialization]) -> list[AssetMaterialization]:
    # Dagster reads the column lineage of an asset from its latest materialization, which is the last one of those
    # that are stored together. In each of them, it would be most of what is stored.
    if not materializations:
        return []
    *others, last = materializations
    return [*others, last.with_metadata({**last.metadata, "dagster/column_lineage": target_lineage(table)})]


def _progress(number: int, asked: int, landed: Counts, seconds: float) -> str:
    left = timedelta(seconds=round(seconds / number * (asked - number)))
    return f"{number} of {asked} ({landed.source_rows / seconds:,.0f} rows/s, {left} left): "


@contextmanager
def explained() -> Iterator[None]:
    """Turn expected errors into a `Failure` that says what is wrong and what to do, without a stack trace.

    The run is retried only after a transient error (rule 9): other errors are faults of configuration, data or
    schema, which a retry would hit again.
    """
    try:
        yield
    except (EngardeError, psycopg.Error) as error:
        if not is_transient(error):
            disable_retries()
        cause = {CAUSE: INVALID_INPUT} if isinstance(error, InvalidInput) else {}
        raise Failure(description=message_of(error), metadata=cause, allow_retries=False) from error


def _mark_without_source(
    context: AssetExecutionContext, postgres: Postgres, table: MetricTable, dates: list[date], dry_run: bool
) -> None:
    # Without a materialization, a backfill would count the dates as failed and hold back downstream assets.
    note = f"BigQuery has no table {table.source}. There was nothing to sync, and nothing was changed."
    context.log.warning(f"{note} The other tables are not affected.")
    if dry_run:
        return
    with postgres.connect(context.run.run_id) as connection:
        for day in dates:
            note_synced(connection, table, day, MISSING_TABLE, UUID(context.run.run_id))
    materializations = [
        AssetMaterialization(
            asset_key=context.asset_key,
            partition=day.isoformat(),
            description=note,
            metadata={**Counts().published, "source_table": "missing"},
            tags=_version_tags(MISSING_TABLE),
        )
        for day in dates
    ]
    log_materializations(context.op_execution_context, materializations)


def _version_tags(version: str | None) -> dict[str, str]:
    # The version of the BigQuery partition that a date was read at is its data version in Dagster.
    return {DATA_VERSION_TAG: version} if version else {}


@contextmanager
def _observed_faults(context: AssetExecutionContext, table: MetricTable, unfinished: set[date]) -> Iterator[None]:
    """If an error ends the block, log an observation of each of `unfinished`, for the pages of these dates."""
    try:
        yield
    except WaitStopped:
        raise  # the run is canceled, or retried
    except (EngardeError, psycopg.Error) as error:
        for day in sorted(unfinished - _landed_earlier(context)):
            context.log_event(failed_observation(table, FailedDate(day, error)))
        raise


def _not_landed_before(context: AssetExecutionContext, dates: list[date]) -> list[date]:
    """Return the dates that have not landed in an earlier attempt of a retried run."""
    if RETRY_NUMBER_TAG not in context.run.tags:
        return dates
    landed = _landed_earlier(context)
    left = [day for day in dates if day not in landed]
    context.log.info(
        f"Landed in an earlier attempt, and skipped: {len(dates) - len(left)} of {counted(len(dates), 'date')}."
    )
    return left


def _landed_earlier(context: AssetExecutionContext) -> set[date]:
    is_retry = RETRY_NUMBER_TAG in context.run.tags
    return landed_before(context.instance, context.run, context.asset_key) if is_retry else set()
