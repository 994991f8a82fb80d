"""Each kind of trouble is told once, and once more when it is over."""

import json
import logging
from dataclasses import asdict, replace
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
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.dates import today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.sensors.alerts import AlertState, alerts
from engarde_pipeline.defs.slice_sync import InvalidSlice
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline_tests.alerts.receiver import running_receiver
from engarde_pipeline_tests.bigquery.faulty import refusal, rest_proxy
from engarde_pipeline_tests.dagster_runs import origin_of, run_range, run_slice
from engarde_pipeline_tests.shop import Shop


class Ticks:
    """Evaluates the sensor with the cursor it left; returns what it says it told."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self.cursor: str | None = None

    def __call__(self) -> str:
        context = build_sensor_context(self._instance, cursor=self.cursor, definitions=defs)
        result = alerts(context, bigquery=BigQuery(), postgres=Postgres())
        assert isinstance(result, SensorResult)
        assert result.skip_reason
        self.cursor = result.cursor
        return str(result.skip_reason.skip_message)

    @property
    def incidents(self) -> dict[str, Incident]:
        """The open incidents."""
        return AlertState.read(self.cursor).incidents

    def wait(self, minutes: int) -> None:
        """Let time pass: what the cursor notes happened so much earlier."""
        state, seconds = AlertState.read(self.cursor), minutes * 60
        state.checked_at -= seconds
        state.due_since = {what: since - seconds for what, since in state.due_since.items()}
        state.outages = {what: replace(o, since=o.since - seconds) for what, o in state.outages.items()}
        self.cursor = state.write()


@pytest.fixture
def tick(instance: DagsterInstance) -> Ticks:
    return Ticks(instance)


def fail(instance: DagsterInstance, will_retry: bool = False) -> None:
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(
        job,
        tags={} if will_retry else {"dagster/max_retries": "0"},
        status=DagsterRunStatus.STARTED,
        remote_job_origin=origin_of(job.name),
    )
    instance.report_run_failed(run)


def test_held_dates_are_told_until_they_are_synced(instance: DagsterInstance, shop: Shop, tick: Ticks) -> None:
    shop.load(today())
    rows = [
        {"tenant_id": str(shop.tenant), "campaign_id": f"x{n}", "platform": "meta", "clicks": n}
        for n in range(1, 40)
    ]
    yesterday = today() - timedelta(days=1)
    shop.world.load([{**row, "metric_date": day} for row in rows for day in (yesterday, today())] * 2)
    run_range(instance, today(), today())
    assert "Reported: 1 date of campaign_metrics is held." in tick()
    for _ in range(2):
        run_range(instance, today(), today())
    assert "Nothing new; 1 incident is open" in tick()  # these do not count as failed syncs as well

    run_range(instance, yesterday, yesterday)
    assert "Reported: 2 dates of campaign_metrics are held." in tick()
    run_range(instance, yesterday, yesterday, {"allow_growth": True})
    assert "held" not in tick()
    run_range(instance, today(), today(), {"allow_growth": True})
    assert "over: 1 date of campaign_metrics is held" in tick()


def test_three_failed_syncs_in_a_row_are_told_once_and_their_end_too(
    instance: DagsterInstance, shop: Shop, tick: Ticks
) -> None:
    shop.load(today())
    fail(instance)
    fail(instance)
    assert "syncs failed" not in tick()
    fail(instance)
    assert "The last 3 syncs failed" in tick()
    fail(instance)
    assert "Nothing new; 1 incident is open" in tick()
    run_range(instance, today(), today())
    assert "over: The last 3 syncs failed" in tick()


@pytest.mark.long
def test_a_failure_that_will_be_retried_does_not_count(instance: DagsterInstance, shop: Shop, tick: Ticks) -> None:
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


def test_what_somebody_mistyped_becomes_no_run(instance: DagsterInstance, shop: Shop, tick: Ticks) -> None:
    shop.load(today())
    march = {"start": "2026-03-01", "end": "2026-03-07"}
    for config in (
        {**march, "tenant": "nobody"},
        {**march, "platforms": ["myspace"]},
        {**march, "campaigns": ["no-such-campaign"]},
        march,  # of all tenants, platforms and campaigns
        {**march, "start": "2026-03-08", "tenant": str(shop.tenant)},
        {**march, "start": "yesterday", "tenant": str(shop.tenant)},
        {**march, "start": "2001-01-01", "tenant": str(shop.tenant)},
    ):
        with pytest.raises(InvalidSlice):
            run_slice(instance, config)
    assert not instance.get_runs()
    assert "Nothing new; 0 incidents are open" in tick()


def test_dates_that_are_no_partitions_are_no_failed_sync(instance: DagsterInstance) -> None:
    range_tags = {
        "dagster/asset_partition_range_start": "2001-01-01",
        "dagster/asset_partition_range_end": "2001-02-01",
    }
    for _ in range(3):  # as Dagster's webserver leaves them, and the sensor lost_runs ends them
        run = DagsterRun("performance_sync", str(uuid4()), tags={**range_tags, "dagster/max_retries": "0"})
        instance.run_storage.add_run(run)
        instance.report_run_failed(run)
    assert list(failed_in_a_row(instance)) == []


def test_failed_slices_are_told_with_their_dates_and_the_reason(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
    for _ in range(3):
        run = run_slice(instance, {"start": "2026-03-01", "end": "2026-03-07", "tenant": str(shop.tenant)})

    (incident,) = failed_in_a_row(instance)

    assert (incident.job, incident.dates) == ("slice_sync", "2026-03-01 .. 2026-03-07")
    assert "BigQuery has no table somebody-elses." in incident.reason
    assert "Check BIGQUERY_PROJECT_ID" in incident.reason
    assert incident.link("http://dagster") == f"http://dagster/runs/{run.run_id}"


def test_a_sync_of_more_than_ten_minutes_is_told_while_it_runs(instance: DagsterInstance, shop: Shop) -> None:
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(job, tags={"dagster/partition": "2026-03-01"})
    started = datetime.now(UTC)
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, job.name), run.run_id)
    assert list(running_long(instance, started + timedelta(minutes=9))) == []

    (incident,) = running_long(instance, started + timedelta(minutes=11))

    assert incident.run_id == run.run_id
    assert incident.dates == "2026-03-01"


def test_more_than_five_percent_rejected_is_told(instance: DagsterInstance, shop: Shop, tick: Ticks) -> None:
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
    shop: Shop, tick: Ticks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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


def test_a_date_due_for_more_than_an_hour_is_told(instance: DagsterInstance, shop: Shop, tick: Ticks) -> None:
    shop.load(today())
    assert "Nothing new" in tick()  # 30 dates of two tables are due, since now
    tick.wait(minutes=59)
    assert "behind" not in tick()
    tick.wait(minutes=2)
    assert "Reported: Postgres is more than an hour behind BigQuery" in tick()
    assert "60 dates that changed in BigQuery or are missing in Postgres" in tick.incidents["freshness"].reason
    assert tick.incidents["freshness"].dates.endswith("and 50 more")


def test_a_bigquery_that_cannot_be_read_is_told_after_five_minutes_with_the_cure(
    instance: DagsterInstance, shop: Shop, tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", "1")
    shop.load(today())
    run_range(instance, today(), today())
    tick()
    with monkeypatch.context() as broken:
        broken.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
        assert "Nothing new" in tick()
        tick.wait(minutes=4)
        assert "Nothing new" in tick()
        tick.wait(minutes=1)
        assert "Reported: BigQuery cannot be read." in tick()
        incident = tick.incidents["unreadable BigQuery"]
        assert "for 5 minutes" in incident.reason
        assert "BigQuery has no table somebody-elses." in incident.reason
        assert "Check BIGQUERY_PROJECT_ID" in incident.reason
        assert incident.link("http://dagster") == "http://dagster/automation"
        assert "Nothing new; 1 incident is open" in tick()

        tick.wait(minutes=56)
        assert "Reported: Postgres has not been compared with BigQuery for more than an hour." in tick()
    over = tick()
    assert "over: BigQuery cannot be read" in over
    assert "over: Postgres has not been compared" in over


def test_an_outage_that_ends_is_not_added_to_the_next(
    instance: DagsterInstance, shop: Shop, tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    for _ in range(2):
        with monkeypatch.context() as broken:
            broken.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
            tick()
            tick.wait(minutes=4)
            assert "Nothing new" in tick()
        assert "Nothing new" in tick()


def test_a_postgres_that_is_down_is_told_through_the_channels(
    instance: DagsterInstance, shop: Shop, tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 80)")
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "100")
    tick()
    with running_receiver() as webhook:
        monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", webhook.url)
        with monkeypatch.context() as broken:
            broken.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
            tick()
            tick.wait(minutes=5)
            assert "Reported: Postgres cannot be read." in tick()
            assert tick.incidents.keys() == {"unreadable Postgres", "budget"}  # what it said last is kept
        assert "over: Postgres cannot be read" in tick()
    (_, opened), (_, over) = webhook.received
    assert (opened["state"], over["state"]) == ("open", "over")
    assert "Cannot connect to Postgres at postgresql://nobody@127.0.0.1:9/nothing" in opened["text"]
    assert opened["link"] == "http://127.0.0.1:3000/automation"


def test_partitions_that_cannot_be_read_are_told_too(
    instance: DagsterInstance, shop: Shop, tick: Ticks, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    with rest_proxy(emulator.rest_url) as proxy:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        tick()
        queries = len(proxy.seen("POST"))
        assert queries
        for _ in range(3):
            tick()
        assert len(proxy.seen("POST")) == queries  # until the next check, looking is free of charge

        proxy.fail(
            "POST", refusal(403, "quotaExceeded", "Quota exceeded: your project exceeded quota for queries.")
        )
        tick.wait(minutes=10)
        tick()
        tick.wait(minutes=5)
        assert "Reported: It cannot be determined which dates have to be synced." in tick()
        assert "Quota exceeded" in tick.incidents["unreadable plan"].reason
        proxy.faults.clear()
        assert "over: It cannot be determined" in tick()


def test_an_alert_waits_for_a_channel_that_is_down(
    instance: DagsterInstance, shop: Shop, tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    for _ in range(3):
        fail(instance)
    assert "1 message waits for webhook" in tick()
    assert "Nothing new; 1 incident is open. 1 message waits for webhook" in tick()
