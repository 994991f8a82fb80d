"""Assets with the pipeline's partitions and checks that only record its events: what these cost in Dagster.

The events are stored together, as the pipeline stores them. Dagster's public API stores each result of a check in
two transactions, which would make the pipeline look fast.
"""

import warnings
from collections.abc import Iterator

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    BackfillPolicy,
    DagsterEvent,
    Definitions,
    Output,
    PreviewWarning,
    asset,
    define_asset_job,
    in_process_executor,
    multi_asset_check,
)

from engarde_pipeline.dagster_internals import (
    NO_MATERIALIZATIONS_AT_THE_END,
    log_materializations,
    store_check_evaluations,
)
from engarde_pipeline.defs.partitions import daily

JOB = "same_events_job"
CHECKS = {"campaigns": 6, "creatives": 4}
"""The number of checks by date of each partitioned asset, as in the pipeline."""

TOTALS_CHECKS = 2


def _asset(name: str) -> AssetsDefinition:
    @asset(name=name, partitions_def=daily, backfill_policy=BackfillPolicy.single_run())
    def materialized(context: AssetExecutionContext) -> Output[None]:
        materializations = [AssetMaterialization(name, partition=day) for day in context.partition_keys]
        log_materializations(context.op_execution_context, materializations)
        return Output(None, metadata=NO_MATERIALIZATIONS_AT_THE_END)

    return materialized


def _checks(name: str, number: int) -> AssetChecksDefinition:
    names = [f"check_{n}" for n in range(number)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)
        specs = [AssetCheckSpec(check, asset=name, partitions_def=daily) for check in names]

    @multi_asset_check(name=f"{name}_checks", specs=specs, can_subset=True)
    def passing(context: AssetCheckExecutionContext) -> Iterator[DagsterEvent]:
        evaluations = [
            AssetCheckEvaluation(AssetKey(name), check, passed=True, metadata={}, partition=day)
            for check in names
            for day in context.op_execution_context.partition_keys
        ]
        yield from store_check_evaluations(context.instance, evaluations, context.op_execution_context)

    return passing


assets = [_asset(name) for name in CHECKS]


@asset(deps=assets)
def totals() -> None:
    """Be materialized."""


@multi_asset_check(
    specs=[AssetCheckSpec(f"check_{n}", asset=totals) for n in range(TOTALS_CHECKS)], can_subset=True
)
def totals_checks() -> Iterator[AssetCheckResult]:
    """Let each check pass."""
    for n in range(TOTALS_CHECKS):
        yield AssetCheckResult(asset_key=totals.key, check_name=f"check_{n}", passed=True)


job = define_asset_job(JOB, [*assets, totals], executor_def=in_process_executor)
defs = Definitions(
    assets=[*assets, totals],
    asset_checks=[*(_checks(name, number) for name, number in CHECKS.items()), totals_checks],
    jobs=[job],
    executor=in_process_executor,
)
