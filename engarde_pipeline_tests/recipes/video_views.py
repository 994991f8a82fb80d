"""Expectations of an added measure, `video_views`; `test_adding_a_measure` runs them in a copy of the package."""

from datetime import timedelta

from dagster import DagsterInstance

from engarde_pipeline.core.dates import today
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests.api.conftest import api as api
from engarde_pipeline_tests.api.conftest import daemon as daemon
from engarde_pipeline_tests.api.conftest import shared_history as shared_history
from engarde_pipeline_tests.api.conftest import webserver_url as webserver_url
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.dagster_runs import check_results, run_range
from engarde_pipeline_tests.shop import Shop

DAY = today() - timedelta(days=2)


def test_the_measure_is_synced_summed_checked_and_served(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY, video_views=7)

    run = run_range(instance, DAY, DAY)

    assert run.success
    assert all(check_results(run).values())
    assert [row["video_views"] for row in shop.world.rows()] == [7, 7]
    totals = shop.world.query("SELECT total_video_views FROM campaign_spaces")
    assert totals == [{"total_video_views": 7}, {"total_video_views": 7}]
    dates = {"start_date": DAY.isoformat(), "end_date": DAY.isoformat()}
    for group in ("date", "campaign", "platform"):
        answer = api.get("/metrics", shop.tenant, group_by=group, **dates).json()
        assert sum(found["video_views"] for found in answer["metrics"]) == 14
    one = api.get(f"/metrics/{shop.first}", shop.tenant, **dates).json()
    assert one["metrics"][0]["video_views"] == one["summary"]["total_video_views"] == 7


def test_a_value_that_differs_is_found_by_the_checks(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, video_views=7)
    run_range(instance, DAY, DAY)
    shop.world.connection.execute("UPDATE platform_days SET video_views = video_views + 1")

    results = check_results(run_range(instance, DAY, DAY))

    assert not results["campaign_metrics:platform_days_equal_rows"]


def test_the_migration_goes_down_and_up(shop: Shop) -> None:
    migrate.downgrade(shop.world.database_url, "-1")
    shop.world.connection.execute("DELETE FROM campaign_metrics")
    migrate.upgrade(shop.world.database_url)
    assert migrate.current(shop.world.database_url) == migrate.head()
