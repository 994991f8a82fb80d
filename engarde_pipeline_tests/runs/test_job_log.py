"""The job log: any run as a sync job, however it was started and however it ended."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEvent, DagsterInstance, DagsterRunStatus
from dagster._core.events import JobFailureData
from dagster._core.storage.dagster_run import DagsterRun

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.job_log import (
    SyncJob,
    count_jobs,
    get_job,
    in_progress,
    last_completed,
    last_ended,
    list_jobs,
)
from engarde_pipeline.runs.run_config import range_run, slice_run
from engarde_pipeline_tests.conftest import NAMED_SERVERS
from engarde_pipeline_tests.dagster_runs import origin_of, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
RANGE = {
    "dagster/asset_partition_range_start": str(FIRST),
    "dagster/asset_partition_range_end": str(THIRD),
}


def _job(instance: DagsterInstance, run_id: str) -> SyncJob:
    job = get_job(instance, run_id)
    assert job is not None
    return job


def _recorded(
    instance: DagsterInstance,
    status: DagsterRunStatus = DagsterRunStatus.QUEUED,
    tags: Mapping[str, str] | None = None,
    retry_of: DagsterRun | None = None,
    number: int = 1,
) -> DagsterRun:
    """Record a run as the daemon, the UI and the launcher do, without running it."""
    run = instance.create_run_for_job(
        job_def=defs.resolve_job_def("performance_sync"),
        run_id=str(uuid4()),
        tags={
            **RANGE,
            **(tags or {}),
            **(
                {
                    "dagster/retry_number": str(number),
                    "dagster/parent_run_id": retry_of.run_id,
                    "dagster/root_run_id": retry_of.root_run_id or retry_of.run_id,
                }
                if retry_of
                else {}
            ),
        },
        root_run_id=(retry_of.root_run_id or retry_of.run_id) if retry_of else None,
        parent_run_id=retry_of.run_id if retry_of else None,
        status=DagsterRunStatus.QUEUED,
        remote_job_origin=origin_of("performance_sync"),
    )
    if status is DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    elif status is DagsterRunStatus.FAILURE:
        instance.report_run_failed(run, message="The process was killed. Nothing is known of it.")
    return run


def test_a_completed_sync_says_what_it_did(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)

    run = run_range(instance, FIRST, SECOND)

    job = _job(instance, run.run_id)
    assert (job.id, job.job_type, job.status) == (run.run_id, "full_sync", "completed")
    assert (job.start_date, job.end_date) == (FIRST, SECOND)
    assert (job.records_processed, job.records_inserted, job.records_unchanged) == (6, 6, 0)
    assert (job.records_updated, job.records_deleted, job.records_failed) == (0, 0, 0)
    assert job.started_at is not None
    assert job.completed_at is not None
    assert job.duration_seconds == pytest.approx((job.completed_at - job.started_at).total_seconds(), abs=0.001)
    assert (job.triggered_by, job.triggered_by_user_id) == ("manual", None)
    assert (job.retry_count, job.max_retries) == (0, 3)
    assert (job.error_message, job.error_details, job.tenant_id) == (None, None, None)


def test_a_failed_sync_says_why_in_one_sentence_and_what_landed(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    run_range(instance, FIRST, SECOND)
    shop.world.replace(SECOND, [])

    run = run_range(instance, FIRST, SECOND)

    job = _job(instance, run.run_id)
    assert job.status == "failed"
    assert job.error_message == (
        "campaign_metrics 2026-03-02: BigQuery has 0 records where Postgres has 2 rows; 0 would be left, less than"
        " the 50% that ENGARDE_SHRINK_THRESHOLD requires, so nothing was changed. 1 of 2 dates did not land."
    )
    assert "--allow-shrink" in (job.error_details or "")
    assert "Traceback" not in (job.error_details or "")
    assert job.records_unchanged == 4


def test_the_tags_that_are_shown_have_the_dates_and_no_counts(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    of_slice = {"start": str(FIRST), "end": str(FIRST), "tenant": str(shop.tenant)}

    runs = [
        run_range(instance, FIRST, SECOND).run_id,
        run_slice(instance, of_slice).run_id,
    ]  # as the UI starts them

    shown = [
        {tag: text for tag, text in found.tags.items() if not tag.startswith(("dagster/", ".dagster/"))}
        for found in map(instance.get_run_by_id, runs)
        if found
    ]
    assert shown == [
        {"engarde/dates": "2026-03-01 .. 2026-03-02"},
        {"engarde/dates": "2026-03-01", "engarde/tenant": str(shop.tenant)},
    ]
    assert [job.records_processed for job in list_jobs(instance, 10)] == [3, 6]
    assert range_run(FIRST, SECOND).tags.items() >= shown[0].items()
    assert slice_run(FIRST, FIRST, tenant=str(shop.tenant), platforms=[], campaigns=[]).tags == shown[1]


def test_the_counts_of_runs_of_version_0_1_0_are_read(instance: DagsterInstance) -> None:
    run = _recorded(instance)
    counts = {"run_id": run.run_id, "records_processed": 5, "records_inserted": 5}
    instance.add_run_tags(run.run_id, {"engarde/counts.campaign_metrics": json.dumps(counts)})

    assert _job(instance, run.run_id).records_inserted == 5


def test_rejected_records_are_counted_as_failed(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    unmapped = {"tenant_id": str(shop.tenant), "campaign_id": "nobody", "platform": "meta", "metric_date": FIRST}
    shop.world.load([unmapped])

    run = run_range(instance, FIRST, FIRST)

    job = _job(instance, run.run_id)
    assert (job.records_processed, job.records_inserted, job.records_failed) == (4, 3, 1)


def test_a_slice_is_its_tenants_job(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)

    run = run_slice(instance, {"start": str(FIRST), "end": str(SECOND), "tenant": str(shop.tenant).upper()})

    job = _job(instance, run.run_id)
    assert job.tenant_id == str(shop.tenant)
    assert (job.start_date, job.end_date, job.records_inserted) == (FIRST, SECOND, 3)
    assert [found.id for found in list_jobs(instance, 10, str(shop.tenant))] == [run.run_id]
    assert list_jobs(instance, 10, str(uuid4())) == []


def test_a_slice_that_fails_at_once_is_a_job_too(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", NAMED_SERVERS["DATABASE_URL"])
    run = run_slice(instance, {"start": str(FIRST), "end": str(SECOND), "tenant": str(shop.tenant)})

    job = _job(instance, run.run_id)
    assert (job.status, job.start_date, job.tenant_id) == ("failed", FIRST, str(shop.tenant))
    assert "Cannot connect to Postgres" in (job.error_message or "")


@pytest.mark.parametrize(
    ("asset", "job_type"), [("campaign_metrics", "campaign_metrics"), ("campaign_asset_metrics", "asset_metrics")]
)
def test_one_asset_materialized_on_its_own_is_a_job_of_its_type(
    instance: DagsterInstance, shop: Shop, asset: str, job_type: str
) -> None:
    shop.load(FIRST)
    job_def = defs.resolve_implicit_global_asset_job_def()

    run = job_def.execute_in_process(
        instance=instance, asset_selection=[AssetKey(asset)], partition_key=str(FIRST), raise_on_error=False
    )

    job = _job(instance, run.run_id)
    assert (job.job_type, job.start_date, job.end_date) == (job_type, FIRST, FIRST)


def test_totals_alone_are_no_sync(instance: DagsterInstance, shop: Shop) -> None:
    job_def = defs.resolve_implicit_global_asset_job_def()
    run = job_def.execute_in_process(instance=instance, asset_selection=[AssetKey("campaign_space_aggregates")])

    assert get_job(instance, run.run_id) is None
    assert list_jobs(instance, 10) == []
    assert count_jobs(instance) == 0


@pytest.mark.parametrize(
    ("tags", "triggered_by"),
    [
        ({}, "manual"),
        ({"dagster/schedule_name": "daily"}, "schedule"),
        ({"dagster/sensor_name": "changes"}, "sensor"),
        ({"dagster/backfill": "abcdefgh"}, "backfill"),
        ({"engarde/triggered_by": "api", "engarde/user": "u1"}, "api"),
    ],
)
def test_who_started_it_is_known(instance: DagsterInstance, tags: dict[str, str], triggered_by: str) -> None:
    run = _recorded(instance, tags=tags)

    job = _job(instance, run.run_id)
    assert job.triggered_by == triggered_by
    assert job.triggered_by_user_id == tags.get("engarde/user")


def test_a_sync_that_automation_asked_for_is_incremental(instance: DagsterInstance) -> None:
    run = _recorded(instance, tags={"dagster/sensor_name": "changes"})

    assert _job(instance, run.run_id).job_type == "incremental_sync"


def test_a_queued_sync_is_pending_and_in_progress(instance: DagsterInstance) -> None:
    run = _recorded(instance)

    job = _job(instance, run.run_id)
    assert (job.status, job.started_at, job.completed_at, job.records_processed) == ("pending", None, None, 0)
    assert [found.id for found in in_progress(instance)] == [run.run_id]


def test_a_cancelled_sync_failed_for_that_reason(instance: DagsterInstance) -> None:
    run = _recorded(instance, DagsterRunStatus.CANCELED)

    job = _job(instance, run.run_id)
    assert (job.status, job.error_message) == ("failed", "The run was cancelled.")
    assert job.metadata["cancelled"] is True
    assert in_progress(instance) == []


def test_a_killed_sync_says_so_and_is_retried(instance: DagsterInstance) -> None:
    run = _recorded(instance, DagsterRunStatus.FAILURE)

    job = _job(instance, run.run_id)
    assert (job.status, job.error_message) == ("retrying", "The process was killed.")


def test_a_sync_about_to_be_retried_is_in_progress(instance: DagsterInstance) -> None:
    first = _recorded(instance, DagsterRunStatus.FAILURE)
    assert [found.id for found in in_progress(instance)] == [first.run_id]

    second = _recorded(instance, retry_of=first)
    assert [found.id for found in in_progress(instance)] == [first.run_id]

    instance.report_run_canceled(second)
    assert in_progress(instance) == []


def test_a_failed_sync_of_which_dagster_has_not_yet_said_whether_it_is_retried_has_not_ended(
    instance: DagsterInstance,
) -> None:
    run = _recorded(instance)
    # What Dagster writes first; the tag follows.
    instance.run_storage.handle_run_event(
        run.run_id,
        DagsterEvent("PIPELINE_FAILURE", run.job_name, event_specific_data=JobFailureData(None)),
        datetime.now(UTC),
    )

    assert (_job(instance, run.run_id).status, _job(instance, run.run_id).has_ended) == ("retrying", False)


def test_a_sync_that_was_killed_at_its_last_attempt_failed(instance: DagsterInstance) -> None:
    run = _recorded(instance, DagsterRunStatus.FAILURE)
    for number in (1, 2, 3):
        run = _recorded(instance, DagsterRunStatus.FAILURE, retry_of=run, number=number)

    assert _job(instance, run.run_id).status == "failed"


def test_a_sync_whose_failure_is_permanent_is_not_retried(instance: DagsterInstance) -> None:
    run = _recorded(instance, DagsterRunStatus.FAILURE, tags={"dagster/max_retries": "0"})

    assert _job(instance, run.run_id).status == "failed"


def test_a_sync_that_no_daemon_queued_is_not_retried(instance: DagsterInstance) -> None:
    run = instance.create_run_for_job(
        defs.resolve_job_def("performance_sync"), tags=RANGE, status=DagsterRunStatus.STARTED
    )
    instance.report_run_failed(run)

    tags = (instance.get_run_by_id(run.run_id) or run).tags
    assert tags["dagster/will_retry"] == "true"  # so says Dagster
    assert _job(instance, run.run_id).status == "failed"
    assert in_progress(instance) == []
    assert [ended.run_id for ended in last_ended(instance, 3)] == [run.run_id]


@pytest.mark.parametrize("age", [timedelta(minutes=59), timedelta(minutes=61)])
def test_a_retry_that_has_not_come_within_an_hour_will_not(instance: DagsterInstance, age: timedelta) -> None:
    run = _recorded(instance)
    instance.run_storage.handle_run_event(
        run.run_id,
        DagsterEvent("PIPELINE_FAILURE", run.job_name, event_specific_data=JobFailureData(None)),
        datetime.now(UTC) - age,
    )
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})

    is_retrying = age < timedelta(hours=1)
    assert _job(instance, run.run_id).status == ("retrying" if is_retrying else "failed")
    assert [job.id for job in in_progress(instance)] == ([run.run_id] if is_retrying else [])
    assert [ended.run_id for ended in last_ended(instance, 1)] == ([] if is_retrying else [run.run_id])


def test_a_sync_of_a_backfill_that_is_gone_is_not_retried(instance: DagsterInstance) -> None:
    run = _recorded(instance, DagsterRunStatus.FAILURE, tags={"dagster/backfill": "abcdefgh"})

    assert _job(instance, run.run_id).status == "failed"
    assert in_progress(instance) == []


def test_a_sync_whose_retry_was_deleted_failed(instance: DagsterInstance) -> None:
    first = _recorded(instance, DagsterRunStatus.FAILURE)
    second = _recorded(instance, retry_of=first)
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
    instance.delete_run(second.run_id)

    assert _job(instance, first.run_id).status == "failed"
    assert in_progress(instance) == []


def test_a_run_of_checks_alone_is_no_sync_whatever_its_job(instance: DagsterInstance) -> None:
    check = AssetCheckKey(AssetKey("campaign_metrics"), "sums_equal_bigquery")
    run = instance.run_storage.add_run(
        DagsterRun(
            "performance_sync",
            str(uuid4()),
            asset_check_selection=frozenset({check}),
            status=DagsterRunStatus.STARTED,
        )
    )

    assert get_job(instance, run.run_id) is None
    assert list_jobs(instance, 10) == []


def test_retries_are_attempts_of_one_job(instance: DagsterInstance) -> None:
    first = _recorded(instance, DagsterRunStatus.FAILURE)
    second = _recorded(instance, DagsterRunStatus.FAILURE, retry_of=first, number=1)
    third = _recorded(instance, retry_of=second, number=2)

    (job,) = list_jobs(instance, 10)
    assert (job.id, job.status, job.retry_count) == (first.run_id, "retrying", 2)
    assert job.run_ids == [first.run_id, second.run_id, third.run_id]
    assert {_job(instance, run.run_id).id for run in (first, second, third)} == {first.run_id}
    assert count_jobs(instance) == 1


def test_a_persons_re_execution_is_a_job_of_its_own(instance: DagsterInstance) -> None:
    asked = {"engarde/triggered_by": "api", "engarde/user": "u1"}
    first = _recorded(instance, DagsterRunStatus.FAILURE, tags=asked)
    again = instance.create_run_for_job(
        job_def=defs.resolve_job_def("performance_sync"),
        tags={**RANGE, **asked},
        root_run_id=first.run_id,
        parent_run_id=first.run_id,
        status=DagsterRunStatus.QUEUED,
        remote_job_origin=origin_of("performance_sync"),
    )

    newest, oldest = list_jobs(instance, 10)
    assert [newest.id, oldest.id] == [again.run_id, first.run_id]
    assert (newest.triggered_by, newest.triggered_by_user_id) == ("manual", None)
    assert (oldest.triggered_by, oldest.triggered_by_user_id) == ("api", "u1")
    assert count_jobs(instance) == 2


def test_a_retry_of_a_killed_run_does_not_inherit_its_counts(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    run = run_range(instance, FIRST, FIRST)
    tags = dict((instance.get_run_by_id(run.run_id) or run.dagster_run).tags)

    again = _recorded(instance, tags=tags)

    assert _job(instance, again.run_id).records_processed == 0


def test_a_long_log_is_read_page_by_page_without_gaps(instance: DagsterInstance) -> None:
    runs = [_recorded(instance, DagsterRunStatus.CANCELED).run_id for _ in range(7)]

    found: list[str] = []
    while page := list_jobs(instance, 3, before=found[-1] if found else None):
        found += [job.id for job in page]

    assert found == runs[::-1]


def test_the_last_completed_sync_is_found_behind_failed_ones(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    good = run_range(instance, FIRST, FIRST)
    _recorded(instance, DagsterRunStatus.FAILURE)

    job = last_completed(instance)
    assert job is not None
    assert job.id == good.run_id


def test_a_source_without_asset_metrics_counts_what_there_is(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.{ASSET_METRICS.source}")

    run = run_range(instance, FIRST, FIRST)

    assert _job(instance, run.run_id).records_inserted == 2


@pytest.mark.parametrize("unknown", ["00000000-0000-4000-8000-000000000000", "", "' OR 1=1 --", "%"])
def test_an_id_of_nothing_is_no_job(instance: DagsterInstance, unknown: str) -> None:
    assert get_job(instance, unknown) is None
