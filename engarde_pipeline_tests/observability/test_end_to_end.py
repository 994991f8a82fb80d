"""A daemon is killed: Prometheus sees it, Alertmanager notifies; it is started again, and that is reported, too.

Everything is real: the daemon, the exporter as a process, Debian's Prometheus and Alertmanager with the deployed
configuration. Only the times are shorter, and the receivers are a local one.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance

from engarde_pipeline_tests.alerts.receiver import Receiver, running_receiver
from engarde_pipeline_tests.api.service import free_port
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.observability.conftest import samples_of
from engarde_pipeline_tests.servers import installed_program
from engarde_pipeline_tests.shop import Shop

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"


@contextmanager
def running(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen([*command], stdout=output, stderr=output, cwd=log.parent)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def prometheus_files(directory: Path, exporter: int, alertmanager: int) -> Path:
    """Write the deployed configuration with one exporter, and the rules with shorter times."""
    rules = (DEPLOYED / "rules.yml").read_text()
    rules = re.sub(r"\bfor: \w+", "for: 1s", rules)
    # Heartbeats come every 30 seconds.
    assert rules.count("heartbeat_timestamp_seconds) > 180") == 1
    (directory / "rules.yml").write_text(rules.replace("timestamp_seconds) > 180", "timestamp_seconds) > 40"))
    configuration = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    configuration["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    configuration["scrape_configs"] = [
        {**job, "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
        for job in configuration["scrape_configs"]
        if job["job_name"] == "engarde-exporter"
    ]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    return file


def alertmanager_file(directory: Path, receiver: Receiver) -> Path:
    """Write the deployed configuration with shorter times; all receivers are `receiver`, by their names."""
    configuration = yaml.safe_load((DEPLOYED / "alertmanager.yml").read_text())
    route = configuration["route"] | {"group_wait": "1s", "group_interval": "1s"}
    configuration["route"] = route
    configuration["receivers"] = [
        {"name": each["name"]}
        | ({} if each["name"] == "nobody" else {"webhook_configs": [{"url": f"{receiver.url}/{each['name']}"}]})
        for each in configuration["receivers"]
    ]
    file = directory / "alertmanager.yml"
    file.write_text(yaml.safe_dump(configuration))
    return file


def notified(receiver: Receiver, name: str, alert: str, status: str) -> bool:
    """Whether a receiver was notified of an alert, or of its end."""
    return any(
        path == f"/{name}" and each["status"] == status and each["labels"]["alertname"] == alert
        for path, body in receiver.received
        for each in body["alerts"]
    )


def test_what_is_reported_already_and_what_follows_from_another_fault_is_suppressed(tmp_path: Path) -> None:
    program = installed_program("prometheus-alertmanager")
    url = f"http://127.0.0.1:{(port := free_port())}/api/v2"
    with running_receiver() as receiver:
        file = f"--config.file={alertmanager_file(tmp_path, receiver)}"
        address, storage = f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={tmp_path / 'data'}"
        with running(tmp_path / "log", program, file, storage, address, "--cluster.listen-address="):
            eventually(lambda: responds(f"{url}/status"), "Alertmanager")
            fire(url, "EngardeReportedBySensor", severity="none", incident="held")
            fire(url, "EngardeDaemonSilent", severity="page")
            fire(url, "EngardeDatesHeld", severity="page", incident="held")
            fire(url, "EngardeBudgetNearlyUsed", severity="ticket", incident="budget")
            fire(url, "EngardeAlertSensorSilent", severity="page")
            expected = {
                "EngardeReportedBySensor": "active",
                "EngardeDaemonSilent": "active",
                "EngardeBudgetNearlyUsed": "active",
                "EngardeDatesHeld": "suppressed",
                "EngardeAlertSensorSilent": "suppressed",
            }
            eventually(lambda: states(url) == expected, f"{expected}")
            eventually(lambda: notified(receiver, "slack", "EngardeBudgetNearlyUsed", "firing"), "a message")
        assert not notified(receiver, "slack", "EngardeDatesHeld", "firing")


def responds(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def fire(url: str, name: str, **labels: str) -> None:
    httpx.post(f"{url}/alerts", json=[{"labels": {"alertname": name, **labels}}]).raise_for_status()


def states(url: str) -> dict[str, str]:
    return {each["labels"]["alertname"]: each["status"]["state"] for each in httpx.get(f"{url}/alerts").json()}


@pytest.mark.long
def test_a_killed_daemon_is_reported_and_its_return_too(
    instance: DagsterInstance, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus, alertmanager = installed_program("prometheus"), installed_program("prometheus-alertmanager")
    # The day's bytes are used up, so sensors and schedules start nothing.
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "1")
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1)")
    ports = [free_port() for _ in range(3)]
    metrics = f"http://127.0.0.1:{ports[0]}/metrics"

    def scrape() -> dict[str, dict[tuple[str, ...], float]]:
        try:
            return samples_of(httpx.get(metrics, timeout=10).text)
        except httpx.TransportError:
            return {}

    with ExitStack() as stack:
        receiver = stack.enter_context(running_receiver())
        command: list[Any] = [sys.executable, "-m", "engarde_pipeline.cli", "exporter", "--port", str(ports[0])]
        stack.enter_context(running(tmp_path / "exporter.log", *command))
        daemon = stack.enter_context(running_daemon(tmp_path / "daemon.log"))
        address = f"--web.listen-address=127.0.0.1:{ports[1]}"
        file = f"--config.file={alertmanager_file(tmp_path, receiver)}"
        storage = f"--storage.path={tmp_path / 'alertmanager'}"
        stack.enter_context(
            running(tmp_path / "am.log", alertmanager, file, storage, address, "--cluster.listen-address=")
        )
        file = f"--config.file={prometheus_files(tmp_path, ports[0], ports[1])}"
        storage = f"--storage.tsdb.path={tmp_path / 'prometheus'}"
        address = f"--web.listen-address=127.0.0.1:{ports[2]}"
        stack.enter_context(running(tmp_path / "prometheus.log", prometheus, file, storage, address))

        eventually(lambda: scrape().get("engarde_alerts_evaluated_timestamp_seconds", {}).get((), 0) > 0, "a tick")
        assert ("budget",) in {key for key, value in scrape()["engarde_alerts_incidents"].items() if value}
        eventually(lambda: notified(receiver, "watchdog", "EngardeWatchdog", "firing"), "the watchdog")
        # Nobody has configured a channel of the sensor, so Prometheus reports the same incident.
        eventually(lambda: notified(receiver, "slack", "EngardeBudgetNearlyUsed", "firing"), "the budget")
        assert not notified(receiver, "slack", "EngardeDaemonSilent", "firing")

        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        for name in ("pagerduty", "slack"):
            eventually(lambda n=name: notified(receiver, n, "EngardeDaemonSilent", "firing"), "silent")  # type: ignore[misc]

        stack.enter_context(running_daemon(tmp_path / "daemon2.log"))
        for name in ("pagerduty", "slack"):
            eventually(lambda n=name: notified(receiver, n, "EngardeDaemonSilent", "resolved"), "over")  # type: ignore[misc]
