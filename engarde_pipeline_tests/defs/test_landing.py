"""How dates land in Dagster: each is materialized when it is committed, once, with its counts; no other is."""

from datetime import date

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.runs.history import metadata_of
from engarde_pipeline.runs.job_log import get_job
from engarde_pipeline_tests.dagster_runs import failure_of, landed_dates, materializations, observed, run_range
from engarde_pipeline_tests.shop import Shop

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)


def test_a_range_run_materializes_every_date_exactly_once(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND, THIRD)

    assert run_range(instance, FIRST, THIRD).success

    days = [str(FIRST), str(SECOND), str(THIRD)]
    assert landed_dates(instance, "campaign_metrics") == days
    assert landed_dates(instance, "campaign_asset_metrics") == days


def test_a_single_date_can_be_run_by_its_partition(instance: DagsterInstance, shop: Shop) -> None:
    from engarde_pipeline.definitions import defs

    shop.load(FIRST)

    job = defs.resolve_job_def("performance_sync")
    assert job.execute_in_process(instance=instance, partition_key=str(FIRST)).success

    assert landed_dates(instance, "campaign_metrics") == [str(FIRST)]


def test_a_date_carries_its_counts_sums_and_costs(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)

    run_range(instance, FIRST, FIRST)

    (record,) = materializations(instance, "campaign_metrics")
    metadata = metadata_of(record)
    expected = {
        "records_processed": 2,
        "records_inserted": 2,
        "records_updated": 0,
        "records_unchanged": 0,
        "records_deleted": 0,
        "records_rejected": 0,
        "dagster/partition_row_count": 2,
        "spend": 21.0,
        "revenue": 84.0,
        "provisional": False,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert {"bigquery_bytes_read", "seconds_reading", "seconds_merging"} <= metadata.keys()
    assert not metadata.keys() & {
        "rejected_records",
        "rejected_spend",
        "spend_before",
        "largest_changes",
        "allowed",
    }


def test_every_row_carries_the_id_of_its_run(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)

    run = run_range(instance, FIRST, FIRST)

    assert {str(row["bigquery_sync_id"]) for row in shop.world.rows()} == {run.run_id}


def test_rejected_records_are_shown_on_their_date(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    unmapped = {"tenant_id": str(shop.tenant), "campaign_id": "nobody", "platform": "meta", "metric_date": FIRST}
    shop.world.load([{**unmapped, "spend": 7.25}])

    run_range(instance, FIRST, FIRST)

    (record,) = materializations(instance, "campaign_metrics")
    assert record.asset_materialization is not None
    (row,) = record.asset_materialization.metadata["rejected_records"].value.records  # type: ignore[union-attr]
    assert row.data["reason"] == "campaign_not_mapped"
    assert "campaign_id=nobody" in str(row.data["record"])
    assert "spend=7.25" in str(row.data["measures"])
    assert metadata_of(record)["rejected_spend"] == 7.25


def test_a_date_shows_its_sums_before_and_the_campaigns_that_changed_most(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(FIRST)
    run_range(instance, FIRST, FIRST)
    shop.world.execute(f"UPDATE {shop.world.dataset}.campaign_metrics SET spend = 30 WHERE campaign_id = 'c2'")

    run_range(instance, FIRST, FIRST)
    run_range(instance, FIRST, FIRST)

    _, restated, unchanged = materializations(instance, "campaign_metrics")
    metadata = metadata_of(restated)
    sums = ("spend_before", "spend", "spend_change", "revenue_before", "revenue_change")
    assert [metadata[name] for name in sums] == [21.0, 40.5, 19.5, 84.0, 0.0]
    (change,) = metadata["largest_changes"].records  # type: ignore[attr-defined]
    assert (change.data["campaign"], change.data["spend_before"], change.data["spend_after"]) == (
        "c2",
        "10.500000",
        "30.000000",
    )
    metadata = metadata_of(unchanged)
    assert [metadata[name] for name in sums] == [40.5, 40.5, 0.0, 84.0, 0.0]
    assert "largest_changes" not in metadata


def test_a_date_that_fails_stops_no_other_and_is_the_only_one_not_materialized(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(FIRST, SECOND, THIRD)
    run_range(instance, FIRST, THIRD)
    shop.world.replace(SECOND, [])  # a broken upstream load: rule 5 refuses the date

    run = run_range(instance, FIRST, THIRD)

    assert not run.success
    again = landed_dates(instance, "campaign_metrics")[3:]
    assert again == [str(FIRST), str(THIRD)]
    reason = failure_of(instance, run)
    assert "1 of 3 dates did not land: 2026-03-02" in reason
    assert "--allow-shrink" in reason
    assert len([row for row in shop.world.rows() if row["metric_date"] == SECOND]) == 2
    (day, on_its_page), *others = observed(instance, run.run_id).items()
    assert (day, others, on_its_page["held"]) == (str(SECOND), [], "would_shrink")
    assert "--allow-shrink" in on_its_page["did_not_land"]
    job = get_job(instance, run.run_id)
    assert job is not None
    assert (job.records_processed, job.records_unchanged) == (7, 7)


def test_a_date_may_shrink_when_the_caller_says_so(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    run_range(instance, FIRST, SECOND)
    shop.world.replace(SECOND, [])

    assert run_range(instance, FIRST, SECOND, {"allow_shrink": True}).success

    assert {row["metric_date"] for row in shop.world.rows()} == {FIRST}
    *_, as_usual, shrunk = map(metadata_of, materializations(instance, "campaign_metrics"))
    assert "allowed" not in as_usual
    assert (shrunk["allowed"], shrunk["spend_before"], shrunk["spend"]) == ("allow_shrink", 21.0, 0.0)


@pytest.mark.parametrize(
    ("last", "says", "summary"),
    [
        (
            FIRST,
            "The date 2026-03-01 did not land.\n* campaign_metrics 2026-03-01: BigQuery",
            "so nothing was changed.",
        ),
        (
            SECOND,
            "None of the 2 dates landed.\n* campaign_metrics 2026-03-01: ",
            "so nothing was changed. None of the 2 dates landed.",
        ),
        (
            THIRD,
            "2 of 3 dates did not land: 2026-03-01, 2026-03-02. The others are synced.\n* campaign_metrics ",
            "so nothing was changed. 2 of 3 dates did not land.",
        ),
    ],
)
def test_a_failed_run_says_which_dates_did_not_land_and_why(
    instance: DagsterInstance, shop: Shop, last: date, says: str, summary: str
) -> None:
    shop.load(FIRST, SECOND, THIRD)
    run_range(instance, FIRST, THIRD)
    shop.world.replace(FIRST, [])
    shop.world.replace(SECOND, [])

    run = run_range(instance, FIRST, last)

    assert failure_of(instance, run).startswith(says)
    job = get_job(instance, run.run_id)
    assert job is not None
    assert (job.error_message or "").startswith("campaign_metrics 2026-03-01: BigQuery has 0 records where")
    assert (job.error_message or "").endswith(summary)


def test_a_whole_table_fault_materializes_nothing_and_says_what_to_do(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.world.create_source(without=["clicks"])
    shop.world.create_source(ASSET_METRICS)

    run = run_range(instance, FIRST, SECOND)

    assert not run.success
    assert landed_dates(instance, "campaign_metrics") == []
    assert "column clicks is missing; expected INT64" in failure_of(instance, run)
    on_their_pages = observed(instance, run.run_id)
    assert on_their_pages.keys() == {str(FIRST), str(SECOND)}
    assert "column clicks is missing" in on_their_pages[str(FIRST)]["did_not_land"]
    job = get_job(instance, run.run_id)
    assert job is not None
    assert "cannot be read: column clicks is missing" in (job.error_message or "")


def test_without_asset_metrics_the_rest_goes_on_and_the_dates_say_so(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(FIRST)
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.{ASSET_METRICS.source}")

    assert run_range(instance, FIRST, FIRST).success

    (record,) = materializations(instance, "campaign_asset_metrics")
    assert metadata_of(record)["source_table"] == "missing"
    assert len(shop.world.rows()) == 2


def test_the_totals_follow_in_the_same_run(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)

    run_range(instance, FIRST, SECOND)

    spends = shop.world.query("SELECT total_spend, avg_roas FROM campaign_spaces")
    assert {(float(row["total_spend"]), float(row["avg_roas"])) for row in spends} == {(21.0, 4.0)}


def test_a_database_without_migrations_is_refused_with_the_cure(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    shop.world.connection.execute("DROP TABLE engarde_alembic_version")

    run = run_range(instance, FIRST, FIRST)

    failed = {event.step_key for event in run.all_node_events if event.is_step_failure}
    assert failed == {"campaign_metrics", "campaign_asset_metrics"}


def test_no_secret_is_in_the_history_of_a_failed_run(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(FIRST)
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres:hunter2@127.0.0.1:1/nowhere")

    run = run_range(instance, FIRST, FIRST)

    assert not run.success
    history = "\n".join(str(record) for record in instance.get_records_for_run(run.run_id).records)
    assert "Cannot connect to Postgres" in history
    assert "hunter2" not in history
