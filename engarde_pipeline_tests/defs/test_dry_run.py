"""A dry run in Dagster is an observation, never a materialization, and writes nothing (rule 16)."""

from datetime import date

from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.defs.partitions import daily
from engarde_pipeline.runs.history import recorded_versions
from engarde_pipeline.runs.job_log import get_job, last_completed, last_ended, list_jobs
from engarde_pipeline_tests.dagster_runs import check_results, landed_dates, observed, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

DAY, OTHER = date(2026, 3, 1), date(2026, 3, 2)
DRY = {"dry_run": True}


def test_a_dry_run_observes_what_the_sync_after_it_materializes(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)
    before = shop.world.everything()

    dry = run_range(instance, DAY, OTHER, DRY)

    assert dry.success
    assert shop.world.everything() == before
    assert not instance.get_records_for_run(dry.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
    assert check_results(dry) == {}
    found = observed(instance, dry.run_id)
    assert list(found) == [str(OTHER), str(DAY)]
    assert found[str(DAY)]["dry_run"] is True
    assert (found[str(DAY)]["dry_run_spend_before"], found[str(DAY)]["dry_run_spend"]) == (0, 21)
    assert recorded_versions(instance, AssetKey("campaign_metrics")) == {}

    real = run_range(instance, DAY, OTHER)

    assert landed_dates(instance, "campaign_metrics") == [str(DAY), str(OTHER)]
    dry_job, real_job = get_job(instance, dry.run_id), get_job(instance, real.run_id)
    assert dry_job is not None
    assert real_job is not None
    names = [name for name in vars(dry_job) if name.startswith("records_")]
    assert [getattr(dry_job, name) for name in names] == [getattr(real_job, name) for name in names]
    assert dry_job.records_inserted == 6


def test_the_job_log_shows_it_and_it_is_no_sync(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)

    run_range(instance, DAY, DAY, DRY)
    run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": str(shop.tenant), **DRY})

    jobs = list_jobs(instance, 10)
    assert [(job.status, job.metadata["dry_run"], job.records_inserted) for job in jobs] == [
        ("completed", True, 3)
    ] * 2
    assert last_completed(instance) is None
    assert last_ended(instance, 3) == []
    assert shop.world.rows() == []


def test_a_date_that_would_be_held_is_shown_and_the_run_succeeds(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)
    run_range(instance, DAY, OTHER)
    shop.world.replace(DAY, [])
    before = shop.world.everything()

    dry = run_range(instance, DAY, OTHER, DRY)

    assert dry.success
    assert shop.world.everything() == before
    assert "allow_shrink" in observed(instance, dry.run_id)[str(DAY)]["would_not_land"]
    assert observed(instance, dry.run_id)[str(DAY)]["dry_run_held"] == "would_shrink"
    keys = [str(DAY), str(OTHER)]
    assert instance.get_status_by_partition(AssetKey("campaign_metrics"), keys, daily) == dict.fromkeys(
        keys, AssetPartitionStatus.MATERIALIZED
    )
    assert "would_not_land" not in observed(instance, dry.run_id)[str(OTHER)]
    job = get_job(instance, dry.run_id)
    assert job is not None
    assert job.metadata["would_not_land"] == {"campaign_metrics": [str(DAY)]}


def test_one_asset_that_is_dry_makes_the_whole_run_dry(instance: DagsterInstance, shop: Shop) -> None:
    from engarde_pipeline.definitions import defs

    shop.load(DAY)
    before = shop.world.everything()

    run = defs.resolve_job_def("performance_sync").execute_in_process(
        instance=instance,
        partition_key=str(DAY),
        run_config={"ops": {"campaign_asset_metrics": {"config": DRY}}},
    )

    assert run.success
    assert shop.world.everything() == before
    assert landed_dates(instance, "campaign_metrics") == []


def test_without_asset_metrics_no_date_is_marked(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.{ASSET_METRICS.source}")
    before = shop.world.everything()

    assert run_range(instance, DAY, DAY, DRY).success

    assert shop.world.everything() == before
    assert landed_dates(instance, ASSET_METRICS.target) == []


def test_a_dry_run_that_cannot_read_bigquery_fails(instance: DagsterInstance, shop: Shop) -> None:
    shop.world.create_source(CAMPAIGN_METRICS, without=["spend"])

    dry = run_range(instance, DAY, DAY, DRY)

    assert not dry.success
    (record,) = instance.get_run_records(RunsFilter(run_ids=[dry.run_id]))
    assert record.dagster_run.status is DagsterRunStatus.FAILURE
    assert last_ended(instance, 3) == []  # three of them are no alert
