"""The asset `campaign_space_aggregates`: the totals in the application's table campaign_spaces."""

from functools import partial

from dagster import AssetExecutionContext, MaterializeResult, asset

from engarde_pipeline.dagster_internals import NO_MATERIALIZATIONS_AT_THE_END
from engarde_pipeline.defs.assets.campaign_asset_metrics import campaign_asset_metrics
from engarde_pipeline.defs.assets.campaign_metrics import campaign_metrics
from engarde_pipeline.defs.assets.sources import GROUP, OWNERS
from engarde_pipeline.defs.interruption import stopping_between_dates
from engarde_pipeline.defs.landing import explained
from engarde_pipeline.defs.metadata import totals_lineage, totals_schema
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.advisory_locks import LockWait
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.postgres.totals.metric_blocks import update_blocks
from engarde_pipeline.runs.sync_runs import describe_run, is_dry_run
from engarde_pipeline.runs.tags import NO_DATES
from engarde_pipeline.telemetry.spans import span


@asset(
    deps=[campaign_metrics, campaign_asset_metrics],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    tags={"layer": "totals"},
    metadata={
        "dagster/table_name": "campaign_spaces",
        "dagster/column_schema": totals_schema(),
        "dagster/column_lineage": totals_lineage(),
    },
)
def campaign_space_aggregates(context: AssetExecutionContext, postgres: Postgres) -> MaterializeResult[None]:
    """The totals in `campaign_spaces`: sums over all dates of `campaign_metrics`, and the CTR and ROAS of those
    sums (not averages of daily ratios). Rows whose totals have not changed are not updated. A dry run updates
    none.
    """
    if is_dry_run(context.run):
        context.log.info("Nothing was written, because this is a dry run.")
        return MaterializeResult(metadata=NO_MATERIALIZATIONS_AT_THE_END)
    selected = context.run.asset_selection
    if selected and selected.isdisjoint({campaign_metrics.key, campaign_asset_metrics.key}):
        context.instance.add_run_tags(context.run.run_id, NO_DATES)
    with (
        stopping_between_dates(context.instance, context.run) as is_stopping,
        explained(),
        postgres.connect(context.run.run_id) as connection,
        span("update totals") as attributes,
    ):
        wait = LockWait(is_stopping, partial(describe_run, context.instance))
        totals = update_totals(connection, wait)
        update_blocks(connection, wait)
        attributes["campaign_spaces_updated"] = totals.affected
    return MaterializeResult(
        metadata={
            "campaign_spaces": totals.campaign_spaces,
            "campaign_spaces_updated": totals.affected,
            "dagster/row_count": totals.campaign_spaces,
            "dagster/column_lineage": totals_lineage(),
        }
    )
