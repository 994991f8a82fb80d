"""The asset checks pass on true numbers, and fail on wrong ones."""

from datetime import timedelta

import pytest
from dagster import AssetCheckSeverity, AssetMaterialization, DagsterInstance, TableMetadataValue

from engarde_pipeline.core.dates import today
from engarde_pipeline.postgres.reads.quality import days_counted_twice
from engarde_pipeline_tests.dagster_runs import check_results, checks_alone, run_range
from engarde_pipeline_tests.shop import Shop

DAY = today() - timedelta(days=2)
OTHER = DAY + timedelta(days=1)


def test_every_check_passes_after_a_good_sync(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)

    results = check_results(run_range(instance, DAY, OTHER))

    assert len(results) == 12
    assert all(results.values())


@pytest.mark.parametrize(
    "column",
    [
        "spend",
        *(
            pytest.param(column, marks=pytest.mark.long)
            for column in ("impressions", "clicks", "conversions", "revenue")
        ),
    ],
)
def test_a_measure_that_differs_from_bigquery_is_found(instance: DagsterInstance, shop: Shop, column: str) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)
    # Restated in BigQuery by the smallest amount there is, and put right again only in Postgres' mind: the
    # merge sees no difference, because a row-level trigger swallows it.
    shop.world.connection.execute(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    shop.world.connection.execute(
        "CREATE TRIGGER swallow BEFORE UPDATE ON campaign_metrics FOR EACH ROW EXECUTE FUNCTION swallow()"
    )
    amount = "0.000001" if column in ("spend", "revenue") else "1"
    shop.world.execute(
        f"UPDATE {shop.world.dataset}.campaign_metrics SET {column} = {column} + {amount} WHERE campaign_id = 'c1'"
    )

    results = check_results(run_range(instance, DAY, DAY))

    assert not results["campaign_metrics:sums_equal_bigquery"]
    assert results["campaign_asset_metrics:sums_equal_bigquery"]


def test_too_many_rejected_records_are_found(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    shop.world.load(
        [{"tenant_id": str(shop.tenant), "campaign_id": "nobody", "platform": "meta", "metric_date": DAY}]
    )

    results = check_results(run_range(instance, DAY, DAY))

    assert not results["campaign_metrics:rejected_share_below_5_percent"]
    assert results["campaign_metrics:sums_equal_bigquery"]


def test_more_clicks_than_impressions_is_only_a_warning(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, clicks=1001)

    run = run_range(instance, DAY, DAY)

    assert run.success
    assert not check_results(run)["campaign_metrics:clicks_not_above_impressions"]


def test_a_day_that_comes_whole_and_in_hours_is_a_warning_on_its_date_alone(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.world.create_source(metric_hour="INT64")
    row = {"tenant_id": str(shop.tenant), "campaign_id": "c1", "platform": "meta", "impressions": 9}
    hours = [{**row, "metric_date": day, "metric_hour": hour} for day in (DAY, OTHER) for hour in range(24)]
    shop.world.load([*hours, {**row, "metric_date": DAY}, {**row, "campaign_id": "c2", "metric_date": OTHER}])

    run = run_range(instance, DAY, OTHER)

    assert run.success
    assert not check_results(run)["campaign_metrics:no_day_counted_twice"]
    assert days_counted_twice(shop.world.connection, [DAY, OTHER]) == {DAY: 1}


def test_counts_that_do_not_add_up_are_found(instance: DagsterInstance, shop: Shop) -> None:
    instance.report_runless_asset_event(
        AssetMaterialization(
            "campaign_metrics",
            partition=str(DAY),
            metadata={"records_processed": 3, "records_inserted": 1, "records_rejected": 1},
        )
    )
    shop.load(OTHER)

    results = check_results(checks_alone(instance))

    assert not results["campaign_metrics:records_accounted_for"]


def test_totals_that_are_not_the_sums_of_the_rows_are_found(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)

    shop.world.connection.execute("UPDATE campaign_spaces SET total_spend = total_spend + 0.000001")

    results = check_results(checks_alone(instance))
    assert not results["campaign_space_aggregates:totals_equal_rows"]
    assert results["campaign_metrics:sums_equal_bigquery"]


@pytest.mark.long
def test_a_trigger_that_drops_the_totals_is_named(instance: DagsterInstance, shop: Shop) -> None:
    shop.world.connection.execute(
        "CREATE FUNCTION drop_totals() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER audited BEFORE UPDATE ON campaign_spaces FOR EACH ROW EXECUTE FUNCTION drop_totals()"
    )
    shop.load(DAY)

    run = run_range(instance, DAY, DAY)

    (check,) = [c for c in run.get_asset_check_evaluations() if c.check_name == "totals_equal_rows"]
    assert not check.passed
    assert check.description is not None
    assert "Triggers on campaign_spaces that can change or drop the update: audited." in check.description


@pytest.mark.long
def test_sums_that_are_not_those_of_the_rows_are_found(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)
    run_range(instance, DAY, OTHER)

    shop.world.connection.execute(
        "UPDATE platform_days SET spend = spend + 0.000001 WHERE metric_date = %s", [OTHER]
    )

    results = check_results(checks_alone(instance))
    assert [name for name, passed in results.items() if not passed] == [
        "campaign_metrics:platform_days_equal_rows"
    ]


def test_a_campaign_in_two_currencies_is_named_and_only_a_warning(instance: DagsterInstance, shop: Shop) -> None:
    shop.world.create_source(currency="STRING")
    shop.load(DAY, currency="EUR")
    shop.load(OTHER, currency="USD")

    run = run_range(instance, DAY, OTHER)

    assert run.success
    failed = [check for check in run.get_asset_check_evaluations() if not check.passed]
    assert [(check.check_name, check.severity) for check in failed] == [
        ("one_currency_per_campaign", AssetCheckSeverity.WARN)
    ]
    table = failed[0].metadata["campaign_spaces"]
    assert isinstance(table, TableMetadataValue)
    assert [record.data for record in table.records] == [
        {"campaign_space": f"{name} {campaign}", "currencies": "EUR, USD"}
        for name, campaign in (("c1", shop.first), ("c2", shop.second))
    ]
