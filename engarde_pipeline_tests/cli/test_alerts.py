"""`engarde alerts`: what is wrong now, and whether a channel would say so."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, SensorResult, build_sensor_context
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)

from engarde_pipeline.core.dates import today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.sensors.alerts import AlertState, alerts
from engarde_pipeline_tests.alerts.receiver import running_receiver
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.dagster_runs import origin_of, run_range
from engarde_pipeline_tests.shop import Shop


def _evaluate(instance: DagsterInstance, seconds_ago: float = 0) -> None:
    """Evaluate the sensor, and keep its cursor as the daemon does."""
    context = build_sensor_context(instance, definitions=defs)
    result = alerts(context, bigquery=BigQuery(), postgres=Postgres())
    assert isinstance(result, SensorResult)
    state = AlertState.read(result.cursor)
    state.evaluated_at -= seconds_ago
    origin = RemoteInstigatorOrigin(origin_of("performance_sync").repository_origin, alerts.name)
    data = SensorInstigatorData(cursor=state.write())
    stored = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    known = instance.get_instigator_state(stored.instigator_origin_id, stored.selector_id)
    (instance.update_instigator_state if known else instance.add_instigator_state)(stored)


def _ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_open_incidents_are_listed_for_people_and_scripts(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(today())
    run_range(instance, today(), today())
    _evaluate(instance)
    quiet = engarde("alerts")
    assert quiet.code == 0
    assert "No incident is open, as of" in quiet.words

    shop.world.connection.execute("DELETE FROM bigquery_usage")
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 80)")
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "100")
    _evaluate(instance)
    listed = engarde("alerts")
    assert listed.code == 1
    assert "1 incident is open, as of" in listed.words
    assert f"BigQuery has read 80 % of today's budget (since {datetime.now(UTC):%Y-%m-%d}" in listed.words
    assert "What to do: Check Runs in the Dagster UI" in listed.words

    printed = engarde("alerts", "--json")
    document: dict[str, Any] = json.loads(printed.out)
    assert printed.code == 1
    assert document["is_current"]
    (incident,) = document["incidents"]
    assert incident["key"] == "budget"
    assert incident["link"] == "http://127.0.0.1:3000/runs"

    # Where `engarde dev` runs with another port, links lead there, and where it has ended, they do not.
    lock = Path(os.environ["DAGSTER_HOME"]) / "dev.lock"
    for pid, port in ((os.getpid(), 3009), (_ended_process(), 3000)):
        lock.write_text(json.dumps({"pids": [pid], "address": "http://127.0.0.1:3009"}))
        assert f"Dagster: http://127.0.0.1:{port}/runs" in engarde("alerts").words
    assert datetime.fromisoformat(incident["opened_at"]) == datetime.fromisoformat(document["evaluated_at"])


def test_a_sensor_that_does_not_run_is_no_reassurance(
    engarde: Engarde, instance: DagsterInstance, shop: Shop
) -> None:
    never = engarde("alerts")
    assert never.code == 1
    assert "The sensor `alerts` has not run yet" in never.words

    shop.load(today())
    _evaluate(instance, seconds_ago=3 * 3600)
    stale = engarde("alerts")
    assert stale.code == 1
    assert "The sensor `alerts` last ran 3 hours ago" in stale.words
    assert json.loads(engarde("alerts", "--json").out)["is_current"] is False


def test_a_test_says_for_each_channel_whether_it_works(
    engarde: Engarde, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = engarde("alerts", "test")
    assert none.code == 1
    assert "No channel is configured" in none.words

    with running_receiver() as receiver:
        monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", f"{receiver.url}/hook")
        accepted = engarde("alerts", "test")
        assert accepted.code == 0
        assert "✓ webhook: accepted the alert and its end" in accepted.words
        assert [(body["state"], body["title"]) for _, body in receiver.received] == [
            ("open", "Test of the alerts: nothing is wrong"),
            ("over", "Test of the alerts: nothing is wrong"),
        ]

        monkeypatch.setenv("ENGARDE_ALERT_SLACK_URL", "http://127.0.0.1:9/services/secret-token")
        monkeypatch.setenv("ENGARDE_ALERT_SMTP_URL", "smtp://user:secret-password@127.0.0.1:9")
        monkeypatch.setenv("ENGARDE_ALERT_EMAIL_TO", "ann@example.com")
        receiver.status = 403
        refused = engarde("alerts", "test")
    assert refused.code == 1
    assert "✗ webhook: the alert was not accepted: the server responded with HTTP status 403" in refused.words
    assert "✗ slack: the alert was not accepted: ConnectionRefusedError" in refused.words
    assert "✗ e-mail: the alert was not accepted: ConnectionRefusedError" in refused.words
    assert "secret" not in refused.words
