"""Each kind of trouble is told once, and once more when it is over."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    SensorResult,
    build_sensor_context,
)

from engarde_pipeline.alerts.conditions import failed_in_a_row, running_long
from engarde_pipeline.alerts.delivery import Message
from engarde_pipeline.alerts.freshness import due_since, freshness_lost
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.dates import today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.sensors.alerts import AlertState, alerts
from engarde_pipeline_tests.dagster_runs import origin_of, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

Tick = Callable[[], str]


@pytest.fixture
def tick(instance: DagsterInstance) -> Tick:
    """`tick()` evaluates the sensor with the cursor it left; returns what it says it told."""
    cursor: list[str | None] = [None]

    def evaluate() -> str:
        context = build_sensor_context(instance, cursor=cursor[0], definitions=defs)
        result = alerts(context, bigquery=BigQuery(), postgres=Postgres())
        assert isinstance(result, SensorResult)
        assert result.skip_reason
        cursor[0] = result.cursor
        return str(result.skip_reason.skip_message)

    return evaluate


def fail(instance: DagsterInstance, will_retry: bool = False) -> None:
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(
        job,
        tags={} if will_retry else {"dagster/max_retries": "0"},
        status=DagsterRunStatus.STARTED,
        remote_job_origin=origin_of(job.name),
    )
    instance.report_run_failed(run)


def test_held_dates_are_told_until_they_are_synced(instance: DagsterInstance, shop: Shop, tick: Tick) -> None:
    shop.load(today())
    rows = [
        {"tenant_id": str(shop.tenant), "campaign_id": f"x{n}", "platform": "meta", "clicks": n}
        for n in range(1, 40)
    ]
    shop.world.load([{**row, "metric_date": today()} for row in rows] * 2)
    run_range(instance, today(), today())
    assert "1 dates of campaign_metrics are held" in tick()
    run_range(instance, today(), today(), {"allow_growth": True})
    assert "over: 1 dates of campaign_metrics are held" in tick()


def test_three_failed_syncs_in_a_row_are_told_once_and_their_end_too(
    instance: DagsterInstance, shop: Shop, tick: Tick
) -> None:
    shop.load(today())
    fail(instance)
    fail(instance)
    assert "syncs failed" not in tick()
    fail(instance)
    assert "The last 3 syncs failed" in tick()
    fail(instance)
    assert "Nothing new; 1 incidents" in tick()
    run_range(instance, today(), today())
    assert "over: The last 3 syncs failed" in tick()


@pytest.mark.long
def test_a_failure_that_will_be_retried_does_not_count(instance: DagsterInstance, shop: Shop, tick: Tick) -> None:
    shop.load(today())
    for will_retry in (False, False, True):
        fail(instance, will_retry)
    assert "syncs failed" not in tick()


def _failed_selection(instance: DagsterInstance, assets: set[str], checks: set[str]) -> None:
    """A failed run of some assets or checks, as the UI starts one."""
    run = DagsterRun(
        "__ASSET_JOB",
        str(uuid4()),
        tags={"dagster/max_retries": "0"},
        status=DagsterRunStatus.STARTED,
        asset_selection=frozenset(AssetKey(name) for name in assets),
        asset_check_selection=frozenset(AssetCheckKey(AssetKey("campaign_metrics"), name) for name in checks),
    )
    instance.run_storage.add_run(run)
    instance.report_run_failed(run)


@pytest.mark.parametrize(
    ("assets", "checks"), [(set(), {"sums_equal_bigquery"}), ({"campaign_space_aggregates"}, set())]
)
def test_failed_checks_or_totals_alone_are_no_failed_syncs(
    instance: DagsterInstance, assets: set[str], checks: set[str]
) -> None:
    for _ in range(3):
        _failed_selection(instance, assets, checks)
    assert list(failed_in_a_row(instance)) == []

    for _ in range(3):
        _failed_selection(instance, {"campaign_metrics"}, set())
        _failed_selection(instance, assets, checks)
    assert [incident.key for incident in failed_in_a_row(instance)] == ["failed in a row"]


def test_a_cancelled_sync_is_no_failed_one(instance: DagsterInstance) -> None:
    fail(instance)
    fail(instance)
    run = instance.create_run_for_job(defs.resolve_job_def("performance_sync"), status=DagsterRunStatus.STARTED)
    instance.report_run_canceled(run)
    assert list(failed_in_a_row(instance)) == []


def test_an_alert_on_slices_names_their_dates(instance: DagsterInstance, shop: Shop) -> None:
    for _ in range(3):
        run_slice(instance, {"start": "2026-03-01", "end": "2026-03-07", "tenant": "nobody"})

    (incident,) = failed_in_a_row(instance)

    assert (incident.job, incident.dates) == ("slice_sync", "2026-03-01 .. 2026-03-07")


def test_a_sync_of_more_than_ten_minutes_is_told_while_it_runs(instance: DagsterInstance, shop: Shop) -> None:
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(job, tags={"dagster/partition": "2026-03-01"})
    started = datetime.now(UTC)
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, job.name), run.run_id)
    assert list(running_long(instance, started + timedelta(minutes=9))) == []

    (incident,) = running_long(instance, started + timedelta(minutes=11))

    assert incident.run_id == run.run_id
    assert incident.dates == "2026-03-01 .. 2026-03-01"


def test_more_than_five_percent_rejected_is_told(instance: DagsterInstance, shop: Shop, tick: Tick) -> None:
    shop.load(today())
    stranger = {
        "tenant_id": str(shop.tenant),
        "campaign_id": "stranger",
        "platform": "meta",
        "metric_date": today(),
    }
    shop.world.load([stranger])
    run_range(instance, today(), today())
    assert "More than 5 % of the records of campaign_metrics are rejected" in tick()


def test_eighty_percent_of_the_budget_is_told(
    shop: Shop, tick: Tick, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop.load(today())
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 79)")
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "100")
    assert "budget" not in tick()
    shop.world.connection.execute("UPDATE bigquery_usage SET bytes_read = 80")
    with caplog.at_level(logging.ERROR, logger="engarde_pipeline"):
        assert "80 % of today's budget" in tick()
    assert "ENGARDE_DAILY_BYTES" in caplog.text


def test_the_first_version_of_the_cursor_is_still_read(instance: DagsterInstance, shop: Shop) -> None:
    incident = Incident("failed in a row", "The last 3 syncs failed", "a reason", "a cure", run_id="r1")
    stored = {
        "incidents": {incident.key: asdict(incident)},
        "due_since": {"campaign_metrics 2026-03-01": 1.5},
        "looked_at": 2.5,
        "waiting": [{"channel": "slack", "incident": asdict(incident), "is_over": True, "since": 3.5}],
    }

    state = AlertState.read(json.dumps(stored))

    assert state.incidents == {incident.key: incident}
    assert state.due_since == {"campaign_metrics 2026-03-01": 1.5}
    assert state.waiting == [Message("slack", incident, True, 3.5)]


@pytest.mark.parametrize(
    "cursor",
    ["{", "null", "[]", '{"incidents": {"a": 1}}', '{"checked_at": "now"}', '{"version": 99, "checked_at": 1}'],
)
def test_a_cursor_that_cannot_be_read_starts_anew(instance: DagsterInstance, shop: Shop, cursor: str) -> None:
    context = build_sensor_context(instance, cursor=cursor, definitions=defs)
    result = alerts(context, bigquery=BigQuery(), postgres=Postgres())
    assert isinstance(result, SensorResult)
    assert result.cursor is not None
    assert AlertState.read(result.cursor).write() == result.cursor


def test_a_date_due_for_more_than_an_hour_is_told(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(today())
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    since = due_since(instance, BigQuery().open_source, Postgres().connect, {}, noon)
    assert list(freshness_lost(since, noon + timedelta(minutes=60))) == []

    later = due_since(instance, BigQuery().open_source, Postgres().connect, since, noon + timedelta(minutes=61))
    (incident,) = freshness_lost(later, noon + timedelta(minutes=61))

    assert "60 dates have been due" in incident.reason  # 30 dates of two tables, never synced


def test_a_bigquery_that_cannot_be_read_for_an_hour_is_told(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    since = due_since(instance, BigQuery().open_source, Postgres().connect, {}, noon)
    (incident,) = freshness_lost(since, noon + timedelta(minutes=61))
    assert incident.reason == "BigQuery cannot be read."


def test_an_alert_waits_for_a_channel_that_is_down(
    instance: DagsterInstance, shop: Shop, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    for _ in range(3):
        fail(instance)
    assert "1 messages wait for webhook" in tick()
    assert "Nothing new; 1 incidents are open. 1 messages wait for webhook" in tick()
