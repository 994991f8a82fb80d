"""What is under the sensor: the hourly and the nightly net, mappings, totals, and runs that are tried again."""

import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    JobDefinition,
    RunRequest,
    SensorResult,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
    job,
)
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution

import engarde_pipeline.defs.sensors.lost_runs as lost_runs_sensor
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.schedules import differing_dates, hourly_sync, nightly_reconciliation
from engarde_pipeline.defs.sensors.lost_runs import SILENCE, lost_runs
from engarde_pipeline.defs.sensors.new_mappings import new_mappings
from engarde_pipeline.defs.sensors.pending_totals import pending_totals
from engarde_pipeline.defs.ticks import TickFailed
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.runs.history import recorded_versions
from engarde_pipeline_tests.bigquery.faulty import Fault, refusal
from engarde_pipeline_tests.dagster_runs import landed_dates, origin_of, run_range
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.defs.graphql import checked_dates, last_result
from engarde_pipeline_tests.shop import Shop

YESTERDAY, TODAY = today() - timedelta(days=1), today()
WINDOW = 4
"""Days in the window: a run takes its time for each date."""

FIRST = TODAY - timedelta(days=WINDOW - 1)


@pytest.fixture(autouse=True)
def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", str(WINDOW))


def _schedule(instance: DagsterInstance, schedule: object, minute: int = 7) -> list[RunRequest] | str:
    moment = datetime.now(UTC).replace(minute=minute, second=0)
    context = build_schedule_context(instance, scheduled_execution_time=moment)
    result = schedule(context, bigquery=BigQuery(), postgres=Postgres())  # type: ignore[operator]
    return str(result.skip_message) if isinstance(result, SkipReason) else list(result)


def _ranges(requests: list[RunRequest] | str) -> list[tuple[str, str]]:
    assert not isinstance(requests, str), requests
    tags = [request.tags for request in requests]
    return [(t["dagster/asset_partition_range_start"], t["dagster/asset_partition_range_end"]) for t in tags]


def test_every_hour_what_failed_is_asked_for_again(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY)
    run_range(instance, FIRST, TODAY - timedelta(days=2))
    first, second = (_schedule(instance, hourly_sync, minute) for minute in (7, 8))
    assert _ranges(first) == _ranges(second) == [(str(YESTERDAY), str(TODAY))]
    assert first[0].run_key != second[0].run_key  # type: ignore[union-attr]


@pytest.mark.long
def test_every_hour_a_mapping_whose_sync_failed_is_asked_for_again(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY)
    stranger = {"tenant_id": str(shop.tenant), "campaign_id": "c9", "platform": "meta", "metric_date": YESTERDAY}
    shop.world.load([stranger])
    run_range(instance, FIRST, TODAY)

    shop.world.campaign(shop.tenant, "c9")

    for _ in range(2):
        assert _ranges(_schedule(instance, hourly_sync)) == [(str(YESTERDAY), str(YESTERDAY))]
    # A date that is due for two reasons is asked for once.
    shop.world.connection.execute("DELETE FROM campaign_metrics WHERE metric_date = %s", [YESTERDAY])
    assert _ranges(_schedule(instance, hourly_sync)) == [(str(YESTERDAY), str(YESTERDAY))]


def test_an_hour_without_a_change_asks_for_nothing(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY)
    run_range(instance, FIRST, TODAY)
    assert _schedule(instance, hourly_sync) == "All dates are up to date with BigQuery."


def test_a_view_tells_no_dates_so_the_window_is_synced_once_an_hour(instance: DagsterInstance, shop: Shop) -> None:
    shop.world.create_view(CAMPAIGN_METRICS)
    shop.load(YESTERDAY)
    run_range(instance, FIRST, TODAY)
    versions = set(recorded_versions(instance, AssetKey("campaign_metrics")).values())
    assert versions <= {f"hour-{datetime.now(UTC) - timedelta(hours=n):%Y%m%dT%H}" for n in (0, 1)}


def test_every_night_the_dates_whose_sums_differ_are_asked_for(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY, TODAY)
    run_range(instance, FIRST, TODAY)
    assert _schedule(instance, nightly_reconciliation) == "The sums of all dates equal those in BigQuery."

    shop.world.connection.execute("UPDATE campaign_metrics SET clicks = 11 WHERE metric_date = %s", [YESTERDAY])

    assert _ranges(_schedule(instance, nightly_reconciliation)) == [(str(YESTERDAY), str(YESTERDAY))]
    sums = checked_dates(instance)["sums_equal_bigquery"]
    assert [day for day, status in sums.items() if status == "FAILED"] == [YESTERDAY]
    assert "clicks" in last_result(instance, "sums_equal_bigquery", YESTERDAY)["description"]

    shop.world.connection.execute(
        "UPDATE campaign_metrics SET currency = 'USD' WHERE metric_date = %s", [YESTERDAY]
    )
    (planned,) = differing_dates(instance, BigQuery(), Postgres())  # once, though sums in two currencies differ
    assert planned.day == YESTERDAY


def test_rejected_records_do_not_make_sums_differ(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY)
    shop.world.load(
        [
            {"tenant_id": str(shop.tenant), "campaign_id": "c9", "platform": "meta", "metric_date": YESTERDAY}
            | {"clicks": 7}
        ]
    )
    run_range(instance, FIRST, TODAY)
    assert shop.world.reasons() == ["campaign_not_mapped"]
    assert _schedule(instance, nightly_reconciliation) == "The sums of all dates equal those in BigQuery."


def test_a_mapping_that_arrives_brings_its_dates_and_no_others(instance: DagsterInstance, shop: Shop) -> None:
    stranger = {"tenant_id": str(shop.tenant), "campaign_id": "c9", "platform": "meta", "clicks": 7}
    shop.load(YESTERDAY, TODAY)
    shop.world.load([{**stranger, "metric_date": YESTERDAY}, {**stranger, "platform": "x", "metric_date": TODAY}])
    run_range(instance, YESTERDAY, TODAY)

    def tick() -> list[RunRequest]:
        result = new_mappings(build_sensor_context(instance, definitions=defs), postgres=Postgres())
        return list(result.run_requests or ())  # type: ignore[union-attr]

    assert tick() == []
    shop.world.campaign(shop.tenant, "c9")
    assert _ranges(tick()) == [(str(YESTERDAY), str(YESTERDAY))]
    run_range(instance, YESTERDAY, YESTERDAY)
    assert tick() == []


@pytest.mark.parametrize("reason", ["unknown_tenant", "asset_not_mapped"])
def test_a_tenant_or_an_asset_that_arrives_counts_too(instance: DagsterInstance, shop: Shop, reason: str) -> None:
    shop.load(TODAY)
    newcomer = "aaaaaaaa-0000-4000-8000-00000000000a"
    row = {"campaign_id": "c1", "platform": "meta", "metric_date": TODAY, "clicks": 7}
    if reason == "unknown_tenant":
        shop.world.load([{**row, "tenant_id": newcomer}])
    else:
        shop.world.load([{**row, "asset_id": "a9"}], ASSET_METRICS)
    run_range(instance, TODAY, TODAY)
    assert shop.world.reasons() == [reason]

    if reason == "unknown_tenant":
        shop.world.connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'New')", [newcomer])
    else:
        shop.world.asset(shop.first, "a9")

    result = new_mappings(build_sensor_context(instance, definitions=defs), postgres=Postgres())
    assert _ranges(list(result.run_requests or ())) == [(str(TODAY), str(TODAY))]  # type: ignore[union-attr]


@pytest.fixture
def costly(instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yesterday's last sync read 6,000 bytes; 5,000 are left of the day's budget."""
    shop.load(YESTERDAY)
    run_range(instance, FIRST, TODAY)
    instance.report_runless_asset_event(
        AssetMaterialization("campaign_metrics", partition=str(YESTERDAY), metadata={"bigquery_bytes_read": 6000})
    )
    shop.world.connection.execute("DELETE FROM bigquery_usage")
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "5000")


def test_a_nightly_comparison_beyond_the_budget_is_not_made(costly: None, instance: DagsterInstance) -> None:
    assert ": 0 bytes have been read today (UTC), and 6,0" in _schedule(instance, nightly_reconciliation)


@pytest.mark.long
def test_a_view_is_estimated_at_what_its_last_sync_read(
    costly: None, instance: DagsterInstance, shop: Shop
) -> None:
    shop.world.create_view(CAMPAIGN_METRICS)
    assert " 6,000 more would be read" in _schedule(instance, hourly_sync)


def test_mapped_dates_are_estimated_at_what_their_last_sync_read(
    costly: None, instance: DagsterInstance, shop: Shop
) -> None:
    stranger = {"tenant_id": str(shop.tenant), "campaign_id": "c9", "platform": "meta", "clicks": 7}
    shop.world.load([{**stranger, "metric_date": YESTERDAY}])
    shop.world.sync_one(YESTERDAY)
    shop.world.campaign(shop.tenant, "c9")
    result = new_mappings(build_sensor_context(instance, definitions=defs), postgres=Postgres())
    assert isinstance(result, SensorResult)
    assert result.skip_reason
    assert " 6,000 more would be read" in str(result.skip_reason.skip_message)


def test_totals_follow_though_a_date_of_the_run_failed(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY, TODAY)
    run_range(instance, YESTERDAY, TODAY)
    world = shop.world
    world.execute(f"DELETE FROM {world.dataset}.campaign_metrics WHERE metric_date = '{YESTERDAY}'")
    world.execute(f"UPDATE {world.dataset}.campaign_metrics SET clicks = 30 WHERE metric_date = '{TODAY}'")
    assert not run_range(instance, YESTERDAY, TODAY).success

    result = pending_totals(build_sensor_context(instance, definitions=defs), postgres=Postgres())
    assert isinstance(result, RunRequest)
    assert defs.resolve_job_def("totals").execute_in_process(instance=instance).success

    totals = world.query("SELECT sum(total_clicks) AS clicks FROM campaign_spaces")[0]["clicks"]
    assert totals == sum(row["clicks"] for row in world.rows()) == 80
    again = pending_totals(build_sensor_context(instance, definitions=defs), postgres=Postgres())
    assert isinstance(again, SkipReason)


def test_a_permanent_failure_is_not_retried(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(TODAY)
    shop.world.execute(f"ALTER TABLE {shop.world.dataset}.campaign_metrics DROP COLUMN spend")
    run = run_range(instance, TODAY, TODAY)
    tags = instance.get_run_by_id(run.run_id).tags  # type: ignore[union-attr]
    assert tags["dagster/max_retries"] == "0"
    assert tags["dagster/will_retry"] == "false"


@pytest.mark.long
def test_a_transient_failure_is_retried(instance: DagsterInstance, shop: Shop, times: Times) -> None:
    shop.load(TODAY)
    overloaded = refusal(503, "backendError", "Retrying may solve the problem.")
    times.proxy.faults.insert(0, Fault("GET", overloaded))
    run = run_range(instance, TODAY, TODAY)
    tags = instance.get_run_by_id(run.run_id).tags  # type: ignore[union-attr]
    assert "dagster/max_retries" not in tags
    assert tags["dagster/will_retry"] == "true"


def test_a_retried_run_leaves_the_dates_that_landed_alone(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(YESTERDAY, TODAY)
    first = run_range(instance, YESTERDAY, YESTERDAY)
    job = defs.resolve_job_def("performance_sync")
    job.execute_in_process(
        instance=instance,
        tags={
            "dagster/retry_number": "1",
            "dagster/parent_run_id": first.run_id,
            "dagster/root_run_id": first.run_id,
            "dagster/asset_partition_range_start": str(YESTERDAY),
            "dagster/asset_partition_range_end": str(TODAY),
        },
    )
    assert landed_dates(instance, "campaign_metrics") == [str(YESTERDAY), str(TODAY)]


def _silent_run(instance: DagsterInstance, silence: timedelta, of_job: JobDefinition | None = None) -> str:
    """A run that started so long ago, and has said nothing since."""
    run = instance.create_run_for_job(of_job or defs.resolve_job_def("performance_sync"))
    started = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
    instance.report_dagster_event(started, run.run_id, timestamp=time.time() - silence.total_seconds())
    return run.run_id


def _statuses_after_a_look(instance: DagsterInstance) -> list[DagsterRunStatus]:
    lost_runs(build_sensor_context(instance, definitions=defs), postgres=Postgres())
    return [run.status for run in instance.get_runs()]


def test_a_run_whose_process_is_gone_is_ended(instance: DagsterInstance, shop: Shop) -> None:
    _silent_run(instance, SILENCE + timedelta(seconds=5))
    assert _statuses_after_a_look(instance) == [DagsterRunStatus.FAILURE]


def test_a_run_that_was_never_queued_is_ended(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.create_run_for_job(defs.resolve_job_def("performance_sync"))
    assert _statuses_after_a_look(instance) == [DagsterRunStatus.NOT_STARTED]

    monkeypatch.setattr(lost_runs_sensor, "SILENCE", timedelta(seconds=-5))

    assert _statuses_after_a_look(instance) == [DagsterRunStatus.FAILURE]


def test_a_silent_run_that_has_a_connection_only_waits(instance: DagsterInstance, shop: Shop) -> None:
    run_id = _silent_run(instance, 6 * SILENCE)
    with connect(shop.world.database_url, run_id):
        assert _statuses_after_a_look(instance) == [DagsterRunStatus.STARTED]


@pytest.mark.parametrize(("end", "shown"), [("canceled", "SKIPPED"), ("killed", "EXECUTION_FAILED")])
def test_a_run_that_ended_without_its_checks_leaves_the_results_of_before(
    instance: DagsterInstance, shop: Shop, end: str, shown: str
) -> None:
    shop.load(YESTERDAY)
    assert run_range(instance, YESTERDAY, YESTERDAY).success
    before = {name: states[YESTERDAY] for name, states in checked_dates(instance).items() if YESTERDAY in states}
    assert "SUCCEEDED" in before.values()
    job = defs.resolve_job_def("performance_sync")
    tags = dict.fromkeys(
        ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), str(YESTERDAY)
    )
    run = instance.create_run_for_job(job, tags=tags, remote_job_origin=origin_of(job.name))
    if end == "killed":
        instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, job.name), run.run_id)
        instance.report_run_failed(run)
    else:
        instance.report_run_canceled(run)
    assert {states.get(YESTERDAY) for states in checked_dates(instance).values()} == {shown}

    lost_runs(build_sensor_context(instance, definitions=defs), postgres=Postgres())

    after = {name: states[YESTERDAY] for name, states in checked_dates(instance).items() if YESTERDAY in states}
    assert after == before


def test_a_run_is_not_ended_before_it_was_silent_for_long(instance: DagsterInstance, shop: Shop) -> None:
    _silent_run(instance, SILENCE / 2)
    assert _statuses_after_a_look(instance) == [DagsterRunStatus.STARTED]


def _retry_without_a_code_server(instance: DagsterInstance, run_id: str) -> None:
    """What the daemon does with a failed run, while nothing listens where the code server was."""
    target = GrpcServerTarget(host="127.0.0.1", port=9, socket=None, location_name="engarde_pipeline")
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    with WorkspaceProcessContext(instance, target) as workspace:
        list(consume_new_runs_for_automatic_reexecution(workspace, [record], logging.getLogger(__name__)))


def test_a_retry_that_was_given_up_while_the_code_server_was_away_is_asked_for_again(
    instance: DagsterInstance, shop: Shop
) -> None:
    run = instance.create_run_for_job(
        defs.resolve_job_def("performance_sync"),
        status=DagsterRunStatus.STARTED,
        remote_job_origin=origin_of("performance_sync"),
    )
    instance.report_run_failed(run)
    _retry_without_a_code_server(instance, run.run_id)
    assert _will_retry(instance, run.run_id) == "false"

    _statuses_after_a_look(instance)

    assert _will_retry(instance, run.run_id) == "true"
    # The daemon retries the runs of these events.
    failures = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_FAILURE).records
    assert len(failures) == 2
    _statuses_after_a_look(instance)
    assert len(instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_FAILURE).records) == 2


def _will_retry(instance: DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.tags["dagster/will_retry"]


def test_a_job_of_another_code_location_is_left_alone(instance: DagsterInstance, shop: Shop) -> None:
    @job
    def nightly_mails() -> None: ...

    _silent_run(instance, 6 * SILENCE, nightly_mails)
    assert _statuses_after_a_look(instance) == [DagsterRunStatus.STARTED]


def test_a_tick_that_cannot_read_a_server_fails_and_a_repeated_tick_requests_nothing_twice(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(YESTERDAY)
    with monkeypatch.context() as broken:
        broken.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
        for schedule in (hourly_sync, nightly_reconciliation):
            with pytest.raises(TickFailed, match="BigQuery has no table somebody-elses"):
                _schedule(instance, schedule)
        broken.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
        for sensor in (new_mappings, pending_totals):
            with pytest.raises(TickFailed, match="Cannot connect to Postgres"):
                sensor(build_sensor_context(instance, definitions=defs), postgres=Postgres())

    assert instance.scheduler.max_tick_retries == 10  # type: ignore[union-attr]
    first, repeated = (_schedule(instance, hourly_sync) for _ in range(2))
    assert [r.run_key for r in first] == [r.run_key for r in repeated]  # type: ignore[union-attr]
