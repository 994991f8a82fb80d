"""What is reported already, and what follows from another fault, is not reported by Alertmanager."""

import subprocess
from pathlib import Path

import httpx

from engarde_pipeline_tests.alerts.receiver import Receiver, running_receiver
from engarde_pipeline_tests.api.service import free_port
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.observability.monitoring import write_alertmanager_file
from engarde_pipeline_tests.servers import installed_program


def test_what_is_reported_already_and_what_follows_from_another_fault_is_suppressed(tmp_path: Path) -> None:
    program = installed_program("prometheus-alertmanager")
    url = f"http://127.0.0.1:{(port := free_port())}/api/v2"
    with running_receiver() as receiver, (tmp_path / "log").open("wb") as log:
        file = f"--config.file={write_alertmanager_file(tmp_path, receiver.url)}"
        address, storage = f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={tmp_path / 'data'}"
        command = [str(program), file, storage, address, "--cluster.listen-address="]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                eventually(lambda: _responds(f"{url}/status"), "Alertmanager")
                _fire(url, "EngardeReportedBySensor", severity="none", incident="held")
                _fire(url, "EngardeDaemonSilent", severity="page")
                _fire(url, "EngardeDatesHeld", severity="page", incident="held")
                _fire(url, "EngardeBudgetNearlyUsed", severity="ticket", incident="budget")
                _fire(url, "EngardeAlertSensorSilent", severity="page")
                expected = {
                    "EngardeReportedBySensor": "active",
                    "EngardeDaemonSilent": "active",
                    "EngardeBudgetNearlyUsed": "active",
                    "EngardeDatesHeld": "suppressed",
                    "EngardeAlertSensorSilent": "suppressed",
                }
                eventually(lambda: _states(url) == expected, f"{expected}")
                eventually(lambda: _fires(receiver, "EngardeBudgetNearlyUsed"), "a message")
            finally:
                process.terminate()
        assert not _fires(receiver, "EngardeDatesHeld")


def _responds(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _fire(url: str, name: str, **labels: str) -> None:
    httpx.post(f"{url}/alerts", json=[{"labels": {"alertname": name, **labels}}]).raise_for_status()


def _states(url: str) -> dict[str, str]:
    return {each["labels"]["alertname"]: each["status"]["state"] for each in httpx.get(f"{url}/alerts").json()}


def _fires(receiver: Receiver, alert: str) -> bool:
    return any(
        path == "/slack" and each["labels"]["alertname"] == alert
        for path, body in receiver.received
        for each in body["alerts"]
    )
