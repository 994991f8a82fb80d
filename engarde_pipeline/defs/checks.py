"""The asset checks, which compare the synced data with BigQuery and with itself.

In a sync they check the dates of the run; started manually from the UI, they check the provisional dates. They do
not block downstream assets: the totals are sums of what is in Postgres whether or not a check passes.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import psycopg
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    DagsterInstance,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    multi_asset_check,
)

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.dates import dates_ahead, provisional_days, today
from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates
from engarde_pipeline.defs.landing import explained
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.reads.quality import (
    days_counted_twice,
    rejected_and_processed,
    rows_with_more_clicks_than_impressions,
)
from engarde_pipeline.postgres.totals.campaign_totals import (
    campaigns_with_several_currencies,
    update_triggers,
    wrong_totals,
)
from engarde_pipeline.postgres.totals.platform_days import dates_with_other_sums
from engarde_pipeline.runs.history import counts_of, latest_materializations
from engarde_pipeline.runs.sync_runs import is_dry_run
from engarde_pipeline.sync.sums import differing_sums

DESCRIPTIONS = {
    "records_accounted_for": "Every record of a synced date is counted as inserted, updated, unchanged or"
    " rejected: processed = inserted + updated + unchanged + rejected.",
    "sums_equal_bigquery": "Each date's sum of each measure in Postgres, by currency and rejected records"
    " included, equals the sum that BigQuery computes. If BigQuery has changed since the sync, sync the date"
    " again.",
    "rejected_share_below_5_percent": "Less than 5 % of the records were rejected.",
    "clicks_not_above_impressions": "No row has more clicks than impressions. Only a warning, because some"
    " platforms count late clicks.",
}
NO_DAY_COUNTED_TWICE = "no_day_counted_twice"
NO_DAY_COUNTED_TWICE_DESCRIPTION = (
    "No campaign has both hourly rows and a row for the whole day on the same date: sums would count the day"
    " twice. Only a warning, because all of them are valid records. Delete the rows of one kind in BigQuery."
)
SUMS_EQUAL_ROWS = "platform_days_equal_rows"
SUMS_EQUAL_ROWS_DESCRIPTION = (
    "The sums per tenant, date, platform and currency that the API reads equal the sums of the rows. If they"
    " differ, rows were changed while the table's triggers were disabled. docs/recovery.md has the statements that"
    " rebuild the sums."
)
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
    asset = AssetKey(table.target)
    descriptions = dict(DESCRIPTIONS)
    if table is CAMPAIGN_METRICS:
        descriptions[NO_DAY_COUNTED_TWICE] = NO_DAY_COUNTED_TWICE_DESCRIPTION
        descriptions[SUMS_EQUAL_ROWS] = SUMS_EQUAL_ROWS_DESCRIPTION

    @multi_asset_check(
        name=f"{table.target}_checks",
        specs=[AssetCheckSpec(name, asset=asset, description=text) for name, text in descriptions.items()],
        can_subset=True,
    )
    def checks(
        context: AssetCheckExecutionContext, bigquery: BigQuery, postgres: Postgres
    ) -> Iterator[AssetCheckResult]:
        if _is_dry(context):
            return
        dates = _dates(context)
        selected = {key.name for key in context.selected_asset_check_keys}
        with explained(), postgres.connect(context.run.run_id) as connection:
            if "records_accounted_for" in selected:
                yield _records_accounted_for(context.instance, asset, dates)
            if "sums_equal_bigquery" in selected:
                yield _sums_equal_bigquery(bigquery.open_source(), connection, table, dates)
            if "rejected_share_below_5_percent" in selected:
                yield _rejected_share(connection, table, dates)
            if "clicks_not_above_impressions" in selected:
                yield _clicks_not_above_impressions(connection, table, dates)
            if NO_DAY_COUNTED_TWICE in selected:
                yield _no_day_counted_twice(connection, table, dates)
            if SUMS_EQUAL_ROWS in selected:
                yield _sums_equal_rows(connection, table, dates)

    return checks


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
        if TOTALS_EQUAL_ROWS in selected:
            yield _totals_equal_rows(connection)
        if ONE_CURRENCY in selected:
            yield _one_currency(connection)


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
    run = context.op_execution_context
    if run.has_partition_key or run.has_partition_key_range:
        return [date.fromisoformat(key) for key in run.partition_keys]
    return [*(today() - timedelta(days=n) for n in reversed(range(provisional_days()))), *dates_ahead()]


def _records_accounted_for(instance: DagsterInstance, asset: AssetKey, dates: Sequence[date]) -> AssetCheckResult:
    latest = latest_materializations(instance, asset, dates)
    wrong = [str(day) for day, record in sorted(latest.items()) if not counts_of(record).add_up]
    return AssetCheckResult(
        asset_key=asset,
        check_name="records_accounted_for",
        passed=not wrong,
        metadata={"dates_checked": len(latest), "dates_that_differ": ", ".join(wrong) or "none"},
    )


def _sums_equal_bigquery(
    source: Source, connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> AssetCheckResult:
    source_table = source.find(table)
    if source_table is None:
        return AssetCheckResult(
            asset_key=AssetKey(table.target),
            check_name="sums_equal_bigquery",
            passed=True,
            description="BigQuery has no such table, so there is nothing to compare.",
        )
    different = [
        TableRecord(
            {
                "date": sums.day.isoformat(),
                "currency": sums.currency,
                "measure": name,
                "bigquery": str(sums.bigquery[name]),
                "postgres": str(sums.postgres[name]),
            }
        )
        for sums in differing_sums(source, source_table, connection, dates)
        for name in sums.differing_measures
    ]
    return AssetCheckResult(
        asset_key=AssetKey(table.target),
        check_name="sums_equal_bigquery",
        passed=not different,
        metadata={
            "dates_checked": len(dates),
            "differences": MetadataValue.table(
                different[:100],
                TableSchema(
                    [TableColumn(name) for name in ("date", "currency", "measure", "bigquery", "postgres")]
                ),
            ),
        },
    )


def _rejected_share(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> AssetCheckResult:
    rejected, processed = rejected_and_processed(connection, table, dates)
    share = rejected / processed if processed else 0.0
    return AssetCheckResult(
        asset_key=AssetKey(table.target),
        check_name="rejected_share_below_5_percent",
        passed=share < REJECTED_SHARE_LIMIT,
        metadata={"rejected": rejected, "processed": processed, "rejected_percent": round(100 * share, 3)},
    )


def _clicks_not_above_impressions(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> AssetCheckResult:
    found = rows_with_more_clicks_than_impressions(connection, table, dates)
    return AssetCheckResult(
        asset_key=AssetKey(table.target),
        check_name="clicks_not_above_impressions",
        passed=not found,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "rows": sum(found.values()),
            "dates": ", ".join(f"{day} ({rows})" for day, rows in found.items()) or "none",
        },
    )


def _no_day_counted_twice(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> AssetCheckResult:
    found = days_counted_twice(connection, dates)
    return AssetCheckResult(
        asset_key=AssetKey(table.target),
        check_name=NO_DAY_COUNTED_TWICE,
        passed=not found,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "campaigns": sum(found.values()),
            "dates": ", ".join(f"{day} ({campaigns})" for day, campaigns in found.items()) or "none",
        },
    )


def _sums_equal_rows(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> AssetCheckResult:
    wrong = dates_with_other_sums(connection, dates)
    return AssetCheckResult(
        asset_key=AssetKey(table.target),
        check_name=SUMS_EQUAL_ROWS,
        passed=not wrong,
        metadata={
            "dates_checked": len(dates),
            "dates_that_differ": ", ".join(map(str, wrong)) or "none",
        },
    )
