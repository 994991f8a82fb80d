"""An asset with the pipeline's partitions that does nothing: what Dagster alone costs."""

from dagster import (
    AssetExecutionContext,
    BackfillPolicy,
    Definitions,
    asset,
    define_asset_job,
    in_process_executor,
)

from engarde_pipeline.defs.partitions import daily


@asset(partitions_def=daily, backfill_policy=BackfillPolicy.single_run())
def empty(context: AssetExecutionContext) -> None:
    """Materialize the run's partitions."""


job = define_asset_job("empty_job", [empty], executor_def=in_process_executor)
defs = Definitions(assets=[empty], jobs=[job], executor=in_process_executor)
