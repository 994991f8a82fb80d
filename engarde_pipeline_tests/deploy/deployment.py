"""Runs the services of deploy/compose.yaml as processes, each with only the variables that the file gives it.

They start in the order of `depends_on`, in a network in which the services have their names, with a real Postgres
and redis.
"""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from engarde_pipeline.local import bigquery
from engarde_pipeline_tests.deploy.compose import DEPLOY, image_environment, services, unescaped
from engarde_pipeline_tests.deploy.network import Network
from engarde_pipeline_tests.servers import installed_postgres

EMULATOR = {
    "BIGQUERY_EMULATOR_HOST": "http://bigquery:9050",
    "BIGQUERY_STORAGE_EMULATOR_HOST": "bigquery:9060",
    "WORKER_CONCURRENCY": "2",
}
"""What deploy/example.env says for the profile `emulator`."""

_HEALTHY_SECONDS = 180

_CLIENT = """
import json, sys
from urllib.request import Request, urlopen

given = json.load(sys.stdin)
data = given.pop("data")
print(urlopen(Request(**given, data=data.encode() if data else None), timeout=60).read().decode())
"""


class Deployment:
    """The services of compose.yaml as processes.

    `variables` are those of the env file beside `EMULATOR`, `more` are added to every service that is our image.
    """

    def __init__(
        self,
        network: Network,
        directory: Path,
        variables: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.services = dict(services(**{**EMULATOR, **(variables or {})}))
        self.more = more or {}
        self.network = network
        self.directory = directory
        self.home = directory / "dagster-home"
        self.home.mkdir()
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a service, and those of the image; only its directories are the test's."""
        given = self.services[name].get("environment") or {}
        own = {variable: unescaped(str(value)) for variable, value in given.items()}
        image = image_environment() if "build" in self.services[name] else {}
        scripts = str(Path(sys.executable).parent)
        places = {"PATH": f"{scripts}:{os.defpath}", "HOME": str(self.directory), "DAGSTER_HOME": str(self.home)}
        return {**image, **own, **({**places, **self.more} if image else {"PATH": os.defpath})}

    def command(self, name: str) -> list[str]:
        words = [unescaped(word) for word in self.services[name]["command"]]
        return [word.replace("/sample_data.py", str(DEPLOY / "sample_data.py")) for word in words]

    def up(self, name: str) -> None:
        """Start a service after those on which it depends, and wait until it is healthy or, a job, has ended."""
        service = self.services[name]
        conditions = {dependency["condition"] for dependency in service.get("depends_on", {}).values()}
        assert conditions <= {"service_healthy", "service_completed_successfully"}
        for dependency in service.get("depends_on", {}):
            if dependency not in self.running:
                self.up(dependency)
        log = self.directory / f"{name}.log"
        cwd = self.directory / name
        cwd.mkdir(exist_ok=True)
        process = self.network.start(self.command(name), self.environment(name), log, cwd)
        self.running[name] = process
        if service.get("restart") == "no":
            assert process.wait(_HEALTHY_SECONDS) == 0, log.read_text()
        elif "healthcheck" in service:
            self._wait_until_healthy(name)

    def restart_ended(self) -> None:
        """Start the services that have ended once more, as Docker does."""
        for name, process in list(self.running.items()):
            if process.poll() is not None and self.services[name].get("restart") != "no":
                self.start(name)

    def start(self, name: str) -> None:
        """Start a service that has been running before, and wait until it is healthy."""
        if name == "bigquery":
            self.start_emulator()
        elif (self.directory / name / "PG_VERSION").exists():
            self.run_postgres(name)
        else:
            self.up(name)

    def is_healthy(self, name: str) -> bool:
        kind, *words = (unescaped(word) for word in self.services[name]["healthcheck"]["test"])
        command = words if kind == "CMD" else ["sh", "-c", *words]
        return self.network.run(command, self.environment(name)).returncode == 0

    def _wait_until_healthy(self, name: str) -> None:
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while not self.is_healthy(name):
            log = (self.directory / f"{name}.log").read_text()
            assert self.running[name].poll() is None, f"{name} ended:\n{log}"
            assert time.monotonic() < deadline, f"{name} does not become healthy:\n{log}"
            time.sleep(0.5)

    def start_postgres(self, name: str = "postgres") -> None:
        """As the image of Postgres: a new cluster, and then the script of the deployment."""
        binaries, data = installed_postgres(), self.directory / name
        data.mkdir()
        shutil.chown(data, "postgres")
        password = self.directory / f"{name}.password"
        password.write_text(self.environment(name)["POSTGRES_PASSWORD"])
        shutil.chown(password, "postgres")
        options = ["-U", "postgres", "--auth-host=scram-sha-256", "--auth-local=trust", f"--pwfile={password}"]
        made = self.network.run([*_as_postgres(), str(binaries / "initdb"), "-D", str(data), *options], {})
        assert made.returncode == 0, made.stderr
        self.run_postgres(name)
        (script,) = (v["source"] for v in self.services[name]["volumes"] if v["type"] == "bind")
        self.psql(name, "--file", script)

    def run_postgres(self, name: str) -> None:
        """Run a server on its cluster, also after it was killed."""
        data = self.directory / name
        server = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
        command = [*_as_postgres(), str(installed_postgres() / "postgres"), "-D", str(data), *server]
        log = self.directory / f"{name}.log"
        self.running[name] = self.network.start(command, self.environment(name), log, data)
        self._wait_until_healthy(name)

    def psql(self, name: str, *arguments: str) -> str:
        """What psql prints, as the administrator of a server."""
        options = [
            "--no-psqlrc",
            "-v",
            "ON_ERROR_STOP=1",
            "-At",
            "-U",
            "postgres",
            "-h",
            str(self.directory / name),
        ]
        command = [str(installed_postgres() / "psql"), *options, *arguments]
        said = self.network.run(command, self.environment(name))
        assert said.returncode == 0, said.stderr
        return said.stdout

    def start_emulator(self) -> None:
        """Run the BigQuery emulator, which keeps its data when it is killed."""
        program = [sys.executable, "-c", bigquery._PROGRAM, "start"]
        data = ["--persistent", "--data-dir", str(self.directory / "bigquery-data")]
        environment = {**os.environ, **bigquery._ENVIRONMENT}
        log = self.directory / "bigquery.log"
        self.running["bigquery"] = self.network.start([*program, *data], environment, log, self.directory)
        self._wait_until_healthy("bigquery")

    def request(self, url: str, token: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the API answers to a client in the network."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = {"url": url, "headers": headers, "data": None if body is None else json.dumps(body)}
        said = self.network.run([sys.executable, "-c", _CLIENT], {}, text=json.dumps(request))
        assert said.returncode == 0, said.stderr
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    def down(self) -> list[str]:
        """Send SIGTERM to each service, in reverse order; return those that outlast their grace period."""
        late = []
        for name, process in reversed(self.running.items()):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_seconds(self.services[name].get("stop_grace_period", "10s")))
                except subprocess.TimeoutExpired:
                    late.append(name)
        return late

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def kill(self, *names: str) -> None:
        """Kill services with all of their processes, as the end of a container does; by default all."""
        for name in names or self.running:
            process = self.running[name]
            if process.poll() is None:
                whole = psutil.Process(process.pid)
                for each in (*whole.children(recursive=True), whole):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                process.wait()


def _as_postgres() -> list[str]:
    owner = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


def _seconds(duration: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))
