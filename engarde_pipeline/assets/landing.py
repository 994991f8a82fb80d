"""How dates land in Dagster: each is materialized at the moment it is committed, and only then."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date, timedelta
from uuid import UUID

from dagster import AssetExecutionContext, AssetMaterialization, Config, Failure, MetadataValue, Output
from pydantic import Field

from engarde_pipeline.assets.metadata import counts_metadata, date_metadata
from engarde_pipeline.assets.resources import BigQuery, Postgres
from engarde_pipeline.assets.run_tags import tell_counts
from engarde_pipeline.bigquery.errors import TableMissing
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.errors import EngardeError
from engarde_pipeline.metrics import MetricTable
from engarde_pipeline.partitions import today
from engarde_pipeline.postgres.merge import Counts
from engarde_pipeline.postgres.rejected import open_rejections
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.dates import FailedDate
from engarde_pipeline.sync.side_by_side import sync_side_by_side

PROVISIONAL_DAYS = 30
"""Platforms restate up to 28 days (Meta), 30 (Google)."""

REJECTED_SHOWN = 20

# Dagster materializes every partition of a range when a step ends, or none: an asset cannot say which dates
# landed (dagster issue 17836). We log each date's materialization ourselves, so the event that would be
# emitted at the end for all of them must not be. This output metadata key is how Dagster's own observable
# sources say "my events are already logged"; `test_landing` guards it.
_EVENTS_ALREADY_LOGGED = "__source_asset_observation__"


class SyncConfig(Config):
    """What a person may ask of a sync besides its dates."""

    allow_shrink: bool = Field(
        default=False,
        description="Sync dates even if BigQuery has far fewer rows for them than Postgres: say so only when"
        " the rows are meant to go. Rows that BigQuery no longer has are deleted.",
    )

    @property
    def shrink_threshold(self) -> float | None:
        """Rule 5's threshold, None where shrinking is intended."""
        return None if self.allow_shrink else load_pipeline_settings().engarde_shrink_threshold


def sync_partitions(
    context: AssetExecutionContext,
    table: MetricTable,
    config: SyncConfig,
    bigquery: BigQuery,
    postgres: Postgres,
) -> Output[None]:
    """Sync the run's partitions of `table`, materializing each date as it lands.

    Raises:
        Failure: BigQuery or Postgres cannot be used, or dates did not land; dates that did stay materialized.
    """
    dates = [date.fromisoformat(key) for key in context.partition_keys]
    landed = Counts()
    failed: list[FailedDate] = []
    with explained():
        source = bigquery.open_source()
        if table.optional and not _exists(source, table):
            _mark_without_source(context, table, dates)
            return Output(None, metadata={_EVENTS_ALREADY_LOGGED: True})
        run_id = UUID(context.run.run_id)
        writers = load_pipeline_settings().engarde_writers
        outcomes = sync_side_by_side(
            table, dates, source, postgres.connect, run_id, config.shrink_threshold, writers
        )
        with ExitStack() as stack:
            stack.callback(lambda: tell_counts(context.instance, context.run.run_id, table, landed))
            stack.enter_context(closing(outcomes))
            connection = stack.enter_context(postgres.connect())
            for number, outcome in enumerate(outcomes, start=1):
                if isinstance(outcome, FailedDate):
                    context.log.error(f"{outcome.day} did not land ({number} of {len(dates)}): {outcome.error}")
                    failed.append(outcome)
                    continue
                landed += outcome.merged.counts
                rejected = open_rejections(connection, table, outcome.day, REJECTED_SHOWN)
                context.log_event(
                    AssetMaterialization(
                        asset_key=context.asset_key,
                        partition=outcome.day.isoformat(),
                        description=f"{number} of {len(dates)}: {outcome.merged.counts.sentence}",
                        metadata=date_metadata(table, outcome, rejected, is_provisional(outcome.day)),
                    )
                )
    if failed:
        raise failure(failed, len(dates))
    return Output(None, metadata={**counts_metadata(landed), _EVENTS_ALREADY_LOGGED: True})


@contextmanager
def explained() -> Iterator[None]:
    """Show a person what is wrong and what to do, instead of a stack trace.

    Our errors are faults of configuration, data or schema: trying again at once would not help.
    """
    try:
        yield
    except EngardeError as error:
        raise Failure(description=str(error), allow_retries=False) from error


def is_provisional(day: date) -> bool:
    """Whether platforms may still restate this date."""
    return day > today() - timedelta(days=PROVISIONAL_DAYS)


def _mark_without_source(context: AssetExecutionContext, table: MetricTable, dates: list[date]) -> None:
    # The dates are marked, or a backfill would count them as failed and hold back what is downstream.
    note = f"BigQuery has no table {table.source}: there was nothing to sync, and nothing was changed."
    context.log.warning(f"{note} The other tables are not affected.")
    for day in dates:
        context.log_event(
            AssetMaterialization(
                asset_key=context.asset_key,
                partition=day.isoformat(),
                description=note,
                metadata={**counts_metadata(Counts()), "source_table": "missing"},
            )
        )


def _exists(source: Source, table: MetricTable) -> bool:
    try:
        source.inspect(table)
    except TableMissing:
        return False
    return True


def failure(failed: list[FailedDate], asked: int) -> Failure:
    """Return the failure of a sync that names the dates which did not land, and why."""
    days = ", ".join(outcome.day.isoformat() for outcome in failed)
    reasons = "\n".join(f"* {outcome.day}: {outcome.error}" for outcome in failed)
    return Failure(
        description=f"{len(failed)} of {asked} dates did not land: {days}. The others are synced.\n{reasons}",
        metadata={"failed_dates": MetadataValue.text(reasons)},
        allow_retries=False,
    )
