"""Why dates failed, from Dagster's history: by their own error, or because the run failed before them."""

from collections.abc import Mapping
from datetime import date, timedelta

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.date_states import read_failures
from engarde_pipeline_tests.dagster_runs import origin_of, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

FIRST, SECOND, THIRD = (date(2026, 3, 1) + timedelta(days=n) for n in range(3))


def refuse(shop: Shop, day: date) -> None:
    """Let Postgres refuse the rows of a date, as a constraint of the application can."""
    constraint = f"CHECK (metric_date <> '{day}') NOT VALID"
    shop.world.connection.execute(
        f"ALTER TABLE campaign_metrics ADD CONSTRAINT not_that_date {constraint}".encode()
    )


def accept(shop: Shop) -> None:
    shop.world.connection.execute("ALTER TABLE campaign_metrics DROP CONSTRAINT not_that_date")


def _days(failures: Mapping[tuple[MetricTable, date], str], table: MetricTable) -> list[date]:
    return sorted(day for of_table, day in failures if of_table is table)


def _attempt(
    instance: DagsterInstance,
    start: date,
    end: date,
    status: DagsterRunStatus,
    tags: Mapping[str, str] | None = None,
    run_config: Mapping[str, object] | None = None,
) -> str:
    """Record a run that ended before it came to any date; return its id."""
    run = instance.create_run_for_job(
        defs.resolve_job_def("performance_sync"),
        tags={
            "dagster/asset_partition_range_start": str(start),
            "dagster/asset_partition_range_end": str(end),
            **(tags or {}),
        },
        run_config=run_config,
        status=DagsterRunStatus.QUEUED,
        remote_job_origin=origin_of("performance_sync"),
    )
    if status is DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    elif status is DagsterRunStatus.FAILURE:
        instance.report_run_failed(run, message="The process was killed.")
    return run.run_id


@pytest.mark.long
def test_a_date_has_failed_until_a_sync_lands_it_whatever_else_is_synced(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(FIRST, SECOND, THIRD)
    run_range(instance, FIRST, THIRD)
    shop.load(SECOND)
    refuse(shop, SECOND)
    run_range(instance, FIRST, THIRD)

    run_range(instance, THIRD, THIRD)
    run_range(instance, SECOND, SECOND, {"dry_run": True})
    run_slice(instance, {"start": str(SECOND), "end": str(SECOND), "campaigns": ["c1"]})
    _attempt(instance, FIRST, THIRD, DagsterRunStatus.CANCELED)
    _attempt(instance, FIRST, THIRD, DagsterRunStatus.QUEUED)

    ((table, day), reason), *others = read_failures(instance).items()
    assert (table, day, others) == (CAMPAIGN_METRICS, SECOND, [])
    assert "not_that_date" in reason

    accept(shop)
    assert run_range(instance, SECOND, SECOND).success
    assert read_failures(instance) == {}


def test_a_run_that_fails_before_it_comes_to_its_dates_fails_them(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    run_range(instance, FIRST, SECOND)
    _attempt(instance, SECOND, THIRD, DagsterRunStatus.FAILURE)
    dry = {"ops": {CAMPAIGN_METRICS.target: {"config": {"dry_run": True}}}}
    _attempt(instance, FIRST, FIRST, DagsterRunStatus.FAILURE, run_config=dry)

    failures = read_failures(instance)

    assert _days(failures, CAMPAIGN_METRICS) == _days(failures, ASSET_METRICS) == [SECOND, THIRD]
    assert set(failures.values()) == {"The process was killed."}
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.campaign_metrics")
    run_range(instance, SECOND, THIRD)

    failures = read_failures(instance)

    # asset_metrics landed; the later reason counts.
    assert (_days(failures, CAMPAIGN_METRICS), _days(failures, ASSET_METRICS)) == ([SECOND, THIRD], [])
    assert all("BigQuery has no table" in reason for reason in failures.values())


def test_a_failed_retry_does_not_fail_what_landed_before_it(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    refuse(shop, SECOND)
    first = run_range(instance, FIRST, SECOND)
    _attempt(
        instance,
        FIRST,
        SECOND,
        DagsterRunStatus.FAILURE,
        {"dagster/root_run_id": first.run_id, "dagster/retry_number": "1"},
    )

    failures = read_failures(instance)

    assert _days(failures, CAMPAIGN_METRICS) == [SECOND]
    assert failures[CAMPAIGN_METRICS, SECOND] == "The process was killed."
    assert _days(failures, ASSET_METRICS) == []
    assert instance.get_latest_materialization_event(AssetKey(ASSET_METRICS.target)) is not None
