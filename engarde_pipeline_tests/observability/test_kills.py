"""Each process is killed in turn: its alert reaches people, no other process' does, and its end is reported, too.

Everything is real: the services of deploy/compose.yaml as processes, and Debian's Prometheus and Alertmanager
with the deployed rules and routes. Only the times are shorter, and the receivers are a local one. Dagster's
history has a Postgres of its own, to tell the two databases apart.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.deploy.compose import REQUIRED, services
from engarde_pipeline_tests.deploy.deployment import EMULATOR, Deployment
from engarde_pipeline_tests.deploy.network import network
from engarde_pipeline_tests.observability.monitoring import write_alertmanager_file, write_prometheus_files
from engarde_pipeline_tests.servers import installed_program

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("image")]

ALERTS = {
    "api": "EngardeApiDown",
    "webserver": "EngardeWebserverDown",
    "exporter": "EngardeExporterDown",
    "worker": "EngardeNoWorker",
    "redis": "EngardeBrokerDown",
    "postgres": "EngardePostgresUnreadable",
    "history": "EngardeDagsterUnreadable",
    "daemon": "EngardeDaemonSilent",
    "code-server": "EngardeAlertSensorSilent",
    "bigquery": "EngardeBigQueryUnreadable",
}
"""The alert of each process."""

OF_SHORT_TIMES = {"EngardeExporterDown", "EngardeExporterPartFails", "EngardeNoWorker"}
"""What begins here with one late scrape, because a process that starts beside it keeps a small machine busy, or
while workers connect to redis again, with delays. As deployed, both must go on for minutes."""

PEOPLE = ("pagerduty", "slack")

_HISTORY = f"postgresql://engarde_dagster:{REQUIRED['DAGSTER_PASSWORD']}@history:5433/dagster"
_PORT = 9099

_RECEIVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "a") as file:
            file.write(json.dumps([self.path[1:], json.loads(body)]) + "\\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Notification:
    """That an alert has begun or ended, as a receiver is notified of it."""

    receiver: str
    alert: str
    status: str
    severity: str


@dataclass(frozen=True)
class Watched:
    """A deployment that is watched, and the file with what the receivers were sent."""

    deployment: Deployment
    file: Path

    def notifications(self, after: int = 0) -> list[Notification]:
        """What people were notified of, without the first `after` of them."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        found = [
            Notification(receiver, each["labels"]["alertname"], each["status"], each["labels"]["severity"])
            for receiver, body in map(json.loads, lines)
            for each in body["alerts"]
        ]
        return found[after:]

    def open_alerts(self) -> set[str]:
        """What people were notified of, and not of its end."""
        last = {each.alert: each.status for each in self.notifications() if each.severity != "none"}
        return {alert for alert, status in last.items() if status == "firing"}

    def wait_for(self, alert: str, status: str, receivers: tuple[str, ...] = PEOPLE, after: int = 0) -> None:
        """Wait until all receivers were notified."""

        def are_notified() -> bool:
            found = {each.receiver for each in self.notifications(after) if (each.alert, each.status) == key}
            return found >= {*receivers}

        key = alert, status
        eventually(are_notified, f"{alert} is {status}: {self.notifications(after)}")


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """A running deployment, in which all is well."""
    for program in ("redis-server", "prometheus", "prometheus-alertmanager"):
        installed_program(program)
    names = [*services(**EMULATOR), "history", "prometheus", "alertmanager"]
    with TemporaryDirectory(prefix="engarde-kills-") as made, ExitStack() as stack:
        directory = Path(made)
        directory.chmod(0o755)
        # As many slots as runs are allowed. The day's bytes are used up, so sensors and schedules start nothing.
        more = {"DAGSTER_DATABASE_URL": _HISTORY, "ENGARDE_DAILY_BYTES": "1"}
        reached = stack.enter_context(network(names, directory))
        deployment = Deployment(reached, directory, {"WORKER_CONCURRENCY": "4"}, more)
        stack.callback(deployment.kill)
        for process in _started(deployment, directory):
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield Watched(deployment, directory / "received")


def _started(deployment: Deployment, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    postgres = deployment.services["postgres"]
    history = {**postgres, "environment": {**postgres["environment"], "PGPORT": "5433"}}
    deployment.services["history"] = history
    deployment.start_postgres()
    deployment.start_postgres("history")
    deployment.start_emulator()
    deployment.up("migrate")
    used = "INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1)"
    deployment.psql("postgres", "--dbname", "engarde", "--command", used)
    for name in deployment.services:
        if name not in deployment.running:
            deployment.up(name)
    ticked = "SELECT 1 FROM instigators WHERE instigator_body LIKE '%evaluated_at%'"
    history_query = ["--dbname", "dagster", "--command", ticked]
    eventually(lambda: bool(deployment.psql("history", *history_query)), "a tick of the sensor alerts")

    url = f"http://127.0.0.1:{_PORT}"
    receiver = [sys.executable, "-c", _RECEIVER, str(directory / "received"), str(_PORT)]
    routes = f"--config.file={write_alertmanager_file(directory, url)}"
    rules = f"--config.file={write_prometheus_files(directory)}"
    commands = {
        "receiver": receiver,
        "alertmanager": [
            str(installed_program("prometheus-alertmanager")),
            *(routes, f"--storage.path={directory / 'alertmanager'}", "--cluster.listen-address="),
        ],
        "prometheus": [
            *(str(installed_program("prometheus")), rules, f"--storage.tsdb.path={directory / 'prometheus'}")
        ],
    }
    for name, command in commands.items():
        yield deployment.network.start(command, {}, directory / f"{name}.log", directory)


def test_the_watchdog_and_what_no_channel_of_the_sensor_reports_are_sent(watched: Watched) -> None:
    watched.wait_for("EngardeWatchdog", "firing", ("watchdog",))
    # No channel of the sensor is configured, so Prometheus reports the same incident.
    watched.wait_for("EngardeBudgetNearlyUsed", "firing", ("slack",))
    # At its start, Prometheus has not scraped the exporter yet.
    eventually(lambda: watched.open_alerts() == {"EngardeBudgetNearlyUsed"}, "the end of all other alerts")


@pytest.mark.parametrize("name", ALERTS)
def test_a_killed_process_is_reported_and_its_return_too(watched: Watched, name: str) -> None:
    before = len(watched.notifications())
    watched.deployment.kill(name)
    try:
        watched.wait_for(ALERTS[name], "firing", after=before)
    finally:
        watched.deployment.start(name)
        watched.deployment.restart_ended()
    watched.wait_for(ALERTS[name], "resolved", after=before)
    eventually(lambda: watched.open_alerts() <= {"EngardeBudgetNearlyUsed"}, "the end of all alerts")
    reported = {each.alert for each in watched.notifications(before) if each.status == "firing"}
    # That of the budget comes again when the exporter can read it again.
    reported -= {"EngardeWatchdog", "EngardeBudgetNearlyUsed"} | OF_SHORT_TIMES
    assert reported - {ALERTS[name]} == set()
