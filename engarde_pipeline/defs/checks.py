"""The asset checks, which compare the synced data with BigQuery and with itself.

Those of the metric tables have a result for each date (ADR 15): in a sync for the dates of the run, and started
manually from the UI for the provisional dates. None of them blocks downstream assets: the totals are sums of what
is in Postgres whether or not a check passes.
"""

import warnings
from collections.abc import Iterator
from datetime import date, timedelta

import psycopg
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    DagsterEvent,
    MetadataValue,
    PreviewWarning,
    TableColumn,
    TableRecord,
    TableSchema,
    multi_asset_check,
)

from engarde_pipeline.core.dates import dates_ahead, dates_between, provisional_days, today
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates
from engarde_pipeline.defs.date_checks import date_checks, record_results, synced_dates
from engarde_pipeline.defs.landing import explained
from engarde_pipeline.defs.partitions import daily
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.totals.campaign_totals import (
    campaigns_with_several_currencies,
    update_triggers,
    wrong_totals,
)
from engarde_pipeline.runs.sync_runs import dates_of, is_dry_run
from engarde_pipeline.telemetry.spans import span

TOTALS_EQUAL_ROWS = "totals_equal_rows"
TOTALS_EQUAL_ROWS_DESCRIPTION = (
    "The totals of each campaign space equal the sums of its rows in `campaign_metrics`. With rows in several"
    " currencies it has no totals of money; where the application's columns for them are NOT NULL, its totals are"
    " not updated, and differ."
)
ONE_CURRENCY = "one_currency_per_campaign"
ONE_CURRENCY_DESCRIPTION = (
    "All rows of a campaign space have the same currency, or none has one. Otherwise its totals of money are NULL,"
    " because amounts of different currencies cannot be added. Only a warning, because a campaign may change its"
    " currency. If older rows have none, the source got the column later: sync their dates again, or set their"
    " currency in BigQuery."
)
_CAMPAIGNS_SHOWN = 20


def _metric_checks(table: MetricTable) -> AssetChecksDefinition:
    @multi_asset_check(name=f"{table.target}_checks", specs=_partitioned_specs(table), can_subset=True)
    def checks(
        context: AssetCheckExecutionContext, bigquery: BigQuery, postgres: Postgres
    ) -> Iterator[DagsterEvent]:
        if _is_dry(context):
            return
        selected = {key.name for key in context.selected_asset_check_keys}
        with explained(), postgres.connect(context.run.run_id) as connection:
            run = context.op_execution_context
            dates = synced_dates(run, table, _dates(context), bigquery.open_source(), connection)
            yield from record_results(run, dates, selected)

    return checks


def _partitioned_specs(table: MetricTable) -> list[AssetCheckSpec]:
    with warnings.catch_warnings():
        # Partitions of checks are a preview of Dagster's, of which its users need not be warned at each start.
        warnings.simplefilter("ignore", PreviewWarning)
        return [
            AssetCheckSpec(check.name, asset=table.target, description=check.description, partitions_def=daily)
            for check in date_checks(table)
        ]


campaign_metrics_checks = _metric_checks(CAMPAIGN_METRICS)
campaign_asset_metrics_checks = _metric_checks(ASSET_METRICS)


# Not an `asset_check`, which has to return a result even in a dry run.
@multi_asset_check(
    specs=[
        AssetCheckSpec(
            TOTALS_EQUAL_ROWS, asset=campaign_space_aggregates.key, description=TOTALS_EQUAL_ROWS_DESCRIPTION
        ),
        AssetCheckSpec(ONE_CURRENCY, asset=campaign_space_aggregates.key, description=ONE_CURRENCY_DESCRIPTION),
    ],
    can_subset=True,
)
def totals_checks(context: AssetCheckExecutionContext, postgres: Postgres) -> Iterator[AssetCheckResult]:
    """Compare the totals with the rows, and the currencies of each campaign space's rows with each other."""
    if _is_dry(context):
        return
    selected = {key.name for key in context.selected_asset_check_keys}
    with explained(), postgres.connect(context.run.run_id) as connection:
        for name, evaluate in ((TOTALS_EQUAL_ROWS, _totals_equal_rows), (ONE_CURRENCY, _one_currency)):
            if name in selected:
                with span("check", table="campaign_spaces", check=name):
                    result = evaluate(connection)
                yield result


def _totals_equal_rows(connection: psycopg.Connection) -> AssetCheckResult:
    totals = wrong_totals(connection)
    triggers = update_triggers(connection) if totals.affected else []
    return AssetCheckResult(
        asset_key=campaign_space_aggregates.key,
        check_name=TOTALS_EQUAL_ROWS,
        passed=totals.affected == 0,
        description=f"Triggers on campaign_spaces that can change or drop the update: {', '.join(triggers)}."
        if triggers
        else None,
        metadata={"campaign_spaces": totals.campaign_spaces, "campaign_spaces_that_differ": totals.affected},
    )


def _one_currency(connection: psycopg.Connection) -> AssetCheckResult:
    number, campaigns = campaigns_with_several_currencies(connection, _CAMPAIGNS_SHOWN)
    return AssetCheckResult(
        asset_key=campaign_space_aggregates.key,
        check_name=ONE_CURRENCY,
        passed=number == 0,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "campaign_spaces_with_several_currencies": number,
            "campaign_spaces": MetadataValue.table(
                [
                    TableRecord({"campaign_space": campaign, "currencies": currencies})
                    for campaign, currencies in campaigns.items()
                ],
                TableSchema([TableColumn(name) for name in ("campaign_space", "currencies")]),
            ),
        },
    )


def _is_dry(context: AssetCheckExecutionContext) -> bool:
    is_dry = is_dry_run(context.run)
    if is_dry:
        context.log.info("Nothing was synced, so there is nothing to check: this is a dry run.")
    return is_dry


def _dates(context: AssetCheckExecutionContext) -> list[date]:
    start, end = dates_of(context.run)
    if start and end:
        return dates_between(start, end)
    return [*(today() - timedelta(days=n) for n in reversed(range(provisional_days()))), *dates_ahead()]
