"""The rules fire on what they are for and on nothing else, and Alertmanager notifies the right people."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from engarde_pipeline.observability.catalogue import all_metrics
from engarde_pipeline.observability.parts import INCIDENTS
from engarde_pipeline.observability.request_metrics import RequestMetrics
from engarde_pipeline_tests.servers import installed_program

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy" / "prometheus"
RULES = DEPLOYED / "rules.yml"

MINUTES = 40
"""The length of the history in which a rule is tested; it begins at the time 0."""

LATE = f"0x{MINUTES}"
"""A time stamp that stays as it is: it is as old as the history is long."""

CURRENT = f"0+60x{MINUTES}"
"""A time stamp that is always now."""


def constant(value: float) -> str:
    return f"{int(value)}x{MINUTES}"


def _sensor(state: str) -> dict[str, str]:
    return {
        'engarde_alerts_incidents{incident="held"}': constant(1),
        "engarde_alerts_evaluated_timestamp_seconds": CURRENT,
        "engarde_alerts_channels": constant(state != "no channel"),
        "engarde_alerts_messages_waiting": constant(state == "waiting"),
    }


def _workers(number: int, slots: int) -> dict[str, str]:
    return {
        "engarde_workers": constant(number),
        "engarde_worker_slots": constant(slots),
        "dagster_max_concurrent_runs": constant(4),
    }


class Case(NamedTuple):
    """The series in which an alert fires, with these labels, and those in which it must not."""

    firing: dict[str, str]
    labels: dict[str, str]
    quiet: list[dict[str, str]]


_OUTAGE = "engarde_outage_start_timestamp_seconds"
_SUCCESS, _FAILURE = (f'engarde_sync_runs_total{{job="j",status="{status}"}}' for status in ("success", "failure"))
_OK, _ERROR = (f'engarde_api_requests_total{{method="GET",route="/m",status="{status}"}}' for status in (200, 503))
_PAGE, _TICKET = {"severity": "page"}, {"severity": "ticket"}

CASES = {
    "EngardeWatchdog": Case({}, {"severity": "none"}, []),
    "EngardeReportedBySensor": Case(
        _sensor("reported"),
        {"severity": "none", "incident": "held"},
        [
            _sensor("no channel"),
            _sensor("waiting"),
            _sensor("reported") | {"engarde_alerts_evaluated_timestamp_seconds": LATE},
            _sensor("reported") | {'engarde_alerts_incidents{incident="held"}': constant(0)},
        ],
    ),
    "EngardeExporterDown": Case(
        {'up{job="engarde-exporter"}': constant(0)},
        {**_PAGE, "job": "engarde-exporter"},
        [{'up{job="engarde-exporter"}': constant(1)}],
    ),
    "EngardeExporterPartFails": Case(
        {'engarde_exporter_up{part="runs"}': constant(0)},
        {**_TICKET, "part": "runs"},
        [{'engarde_exporter_up{part="runs"}': constant(1)}, {'engarde_exporter_up{part="postgres"}': constant(0)}],
    ),
    "EngardeDagsterUnreadable": Case(
        {f'engarde_exporter_up{{part="{part}"}}': constant(0) for part in ("dagster", "alerts")},
        _PAGE,
        [
            {
                'engarde_exporter_up{part="dagster"}': constant(0),
                'engarde_exporter_up{part="alerts"}': constant(1),
            },
            {'engarde_exporter_up{part="postgres"}': constant(0)},
        ],
    ),
    "EngardeDaemonSilent": Case(
        {
            'dagster_daemon_last_heartbeat_timestamp_seconds{daemon="SENSOR"}': LATE,
            'dagster_daemon_last_heartbeat_timestamp_seconds{daemon="QUEUED_RUN_COORDINATOR"}': LATE,
        },
        _PAGE,
        [{'dagster_daemon_last_heartbeat_timestamp_seconds{daemon="SENSOR"}': CURRENT}],
    ),
    "EngardeAlertSensorSilent": Case(
        {"engarde_alerts_evaluated_timestamp_seconds": LATE},
        _PAGE,
        [{"engarde_alerts_evaluated_timestamp_seconds": CURRENT}],
    ),
    "EngardeAlertChannelFails": Case(
        {"engarde_alerts_messages_waiting": constant(2)},
        _TICKET,
        [{"engarde_alerts_messages_waiting": constant(0)}],
    ),
    "EngardeWebserverDown": Case(
        {"dagster_webserver_up": constant(0)}, _PAGE, [{"dagster_webserver_up": constant(1)}]
    ),
    "EngardeApiDown": Case(
        {'up{job="engarde-api"}': constant(0)},
        {**_PAGE, "job": "engarde-api"},
        [{'up{job="engarde-api"}': constant(1)}],
    ),
    "EngardeApiErrors": Case(
        {_OK: f"0+90x{MINUTES}", _ERROR: f"0+10x{MINUTES}"},
        _PAGE,
        [{_OK: f"0+99x{MINUTES}", _ERROR: f"0+1x{MINUTES}"}, {_OK: constant(7)}],
    ),
    "EngardeBrokerDown": Case({"engarde_broker_up": constant(0)}, _PAGE, [{"engarde_broker_up": constant(1)}]),
    "EngardeNoWorker": Case({"engarde_workers": constant(0)}, _PAGE, [{"engarde_workers": constant(1)}]),
    "EngardeWorkersMissing": Case(
        _workers(number=1, slots=2),
        _TICKET,
        [_workers(number=2, slots=4), _workers(number=0, slots=0), {"dagster_max_concurrent_runs": constant(4)}],
    ),
    "EngardeRunsWaiting": Case(
        {"dagster_run_queue_oldest_seconds": constant(2000)},
        _TICKET,
        [{"dagster_run_queue_oldest_seconds": constant(1000)}],
    ),
    "EngardeBigQueryUnreadable": Case(
        {f'{_OUTAGE}{{server="bigquery"}}': LATE},
        {**_PAGE, "server": "bigquery", "incident": "bigquery_unreadable"},
        [{f'{_OUTAGE}{{server="bigquery"}}': CURRENT}, {f'{_OUTAGE}{{server="plan"}}': LATE}],
    ),
    "EngardePostgresUnreadable": Case(
        {'engarde_exporter_up{part="postgres"}': constant(0)},
        {**_PAGE, "part": "postgres", "incident": "postgres_unreadable"},
        [{'engarde_exporter_up{part="postgres"}': constant(1)}, {f'{_OUTAGE}{{server="bigquery"}}': LATE}],
    ),
    "EngardePlanUnreadable": Case(
        {f'{_OUTAGE}{{server="plan"}}': LATE},
        {**_PAGE, "server": "plan", "incident": "plan_unreadable"},
        [{f'{_OUTAGE}{{server="bigquery"}}': LATE}],
    ),
    "EngardeBehind": Case(
        {"engarde_due_since_timestamp_seconds": constant(-2400)},
        {**_PAGE, "incident": "freshness"},
        [{"engarde_due_since_timestamp_seconds": LATE}, {'engarde_due_dates{table="t"}': constant(0)}],
    ),
    "EngardeNotCompared": Case(
        {f'{_OUTAGE}{{server="bigquery"}}': constant(-2400)},
        {**_PAGE, "incident": "freshness"},
        [{f'{_OUTAGE}{{server="bigquery"}}': LATE}],
    ),
    "EngardeSyncsFail": Case(
        {"engarde_sync_failures_in_a_row": constant(3)},
        {**_PAGE, "incident": "failed_in_a_row"},
        [{"engarde_sync_failures_in_a_row": constant(2)}],
    ),
    "EngardeSyncLong": Case(
        {"engarde_sync_running_longest_seconds": constant(601)},
        {**_TICKET, "incident": "running_long"},
        [{"engarde_sync_running_longest_seconds": constant(599)}],
    ),
    "EngardeRecordsRejected": Case(
        {
            f'engarde_much_rejected_dates{{table="{table}"}}': constant(number)
            for table, number in (("a", 0), ("b", 2))
        },
        {**_TICKET, "incident": "rejected"},
        [{'engarde_much_rejected_dates{table="a"}': constant(0)}],
    ),
    "EngardeDatesHeld": Case(
        {"engarde_held_dates": constant(1)},
        {**_PAGE, "incident": "held"},
        [{"engarde_held_dates": constant(0)}],
    ),
    "EngardeBudgetNearlyUsed": Case(
        {"engarde_bigquery_bytes_today": constant(80), "engarde_bigquery_bytes_budget": constant(100)},
        {**_TICKET, "incident": "budget"},
        [{"engarde_bigquery_bytes_today": constant(79), "engarde_bigquery_bytes_budget": constant(100)}],
    ),
    "EngardeErrorBudgetUsed": Case(
        {_SUCCESS: f"0+95x{MINUTES}", _FAILURE: f"0+5x{MINUTES}"},
        _TICKET,
        [
            {_SUCCESS: f"0+995x{MINUTES}", _FAILURE: f"0+5x{MINUTES}"},
            {_SUCCESS: f"0+1x{MINUTES}", _FAILURE: f"0+1x{MINUTES}"},
        ],
    ),
}
"""Each alert; the history is 40 minutes long, and begins at the time 0."""


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def _run(program: str, *arguments: str | Path) -> str:
    said = subprocess.run(
        [installed_program(program), *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def _test(alert: str, series: dict[str, str], labels: dict[str, str] | None) -> dict[str, Any]:
    firing = {"alertname": alert, "alertstate": "firing", **(labels or {})}
    shown = ",".join(f'{name}="{value}"' for name, value in firing.items())
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": f"ALERTS{{{shown}}}", "value": 1}] if labels is not None else [],
            }
        ],
    }


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_fault_and_on_nothing_else(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    tests = [_test(alert, case.firing, case.labels), *(_test(alert, series, None) for series in case.quiet)]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    _run("promtool", "test", "rules", file)


def test_every_alert_is_tested_and_documented() -> None:
    assert CASES.keys() == ALERTS.keys()
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "on-call.md").read_text(), re.MULTILINE)
    assert set(sections) == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/on-call.md#{name.lower()}"
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}


def test_every_incident_of_the_sensor_has_an_alert_that_waits_for_it() -> None:
    reported = {rule["labels"]["incident"]: rule for rule in ALERTS.values() if "incident" in rule["labels"]}
    assert reported.keys() == set(INCIDENTS.values())
    assert all("for" in rule for rule in ALERTS.values() if "incident" in rule["labels"])


def test_the_rules_read_only_metrics_that_exist() -> None:
    of_api = {family.name for family in RequestMetrics().registry.collect()}
    known = {metric.name for metric in all_metrics()} | {
        name + suffix for name in of_api for suffix in ("", "_total", "_bucket")
    }
    used = set(re.findall(r"\b((?:engarde|dagster)_\w+)\b", "\n".join(rule["expr"] for rule in _rules())))
    assert used <= known


def test_the_configurations_are_valid() -> None:
    _run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    _run("promtool", "check", "config", "--syntax-only", DEPLOYED / "prometheus.yml")
    _run("amtool", "check-config", DEPLOYED / "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=EngardeWatchdog", "severity=none"], "watchdog"),
        (["alertname=EngardeReportedBySensor", "severity=none", "incident=held"], "nobody"),
        (["alertname=EngardeDaemonSilent", "severity=page"], "pagerduty,slack"),
        (["alertname=EngardeSyncLong", "severity=ticket"], "slack"),
        (["alertname=SomethingElse"], "slack"),
    ],
)
def test_an_alert_is_routed_to(labels: list[str], receivers: str) -> None:
    file = f"--config.file={DEPLOYED / 'alertmanager.yml'}"
    _run("amtool", "config", "routes", "test", file, f"--verify.receivers={receivers}", *labels)
