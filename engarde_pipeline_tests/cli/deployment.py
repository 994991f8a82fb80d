"""A deployment as separate processes, each with exactly the variables that docs/processes.md says it needs."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import engarde_pipeline
from engarde_pipeline_tests.defs.daemon import eventually

PAGE = Path(engarde_pipeline.__file__).parents[1] / "docs" / "processes.md"

ENGARDE = [sys.executable, "-m", "engarde_pipeline.cli"]


def documented_variables() -> dict[str, list[str]]:
    """The required variables of each command, read from the first table of the page."""
    rows = re.findall(r"^\| [^|]+ \| `engarde ([\w -]+)` \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    return {command: re.findall(r"`(\w+)`", variables) for command, variables in rows}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Deployment:
    """The processes of one deployment; `stop` ends those that still run."""

    def __init__(self, home: Path, variables: Mapping[str, str], optional: Mapping[str, str]) -> None:
        self.home = home
        self.code_server_port, self.ui_port = free_port(), free_port()
        self.variables = {
            **variables,
            "DAGSTER_HOME": str(home),
            "ENGARDE_CODE_SERVER_HOST": "127.0.0.1",
            "ENGARDE_CODE_SERVER_PORT": str(self.code_server_port),
            "ENGARDE_WEBSERVER_URL": f"http://127.0.0.1:{self.ui_port}",
        }
        self.optional = optional
        """Variables of the pipeline that have defaults, for the processes that run it."""
        self.everywhere: dict[str, str] = {}
        """Variables of all processes, such as that of the log."""
        self.processes: list[subprocess.Popen[bytes]] = []
        subprocess.run([*ENGARDE, "init", str(home)], check=True, stdout=subprocess.DEVNULL, env=_BARE)

    def environment(self, command: str) -> dict[str, str]:
        """What a process of the deployment has in its environment."""
        named = {name: self.variables[name] for name in documented_variables()[command]}
        runs_the_pipeline = "BIGQUERY_PROJECT_ID" in named
        return {**_BARE, **self.everywhere, **named, **(self.optional if runs_the_pipeline else {})}

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a process; its output is in a file beside the others'."""
        ports = {"code-server": self.code_server_port, "ui": self.ui_port}
        address = ["--host", "127.0.0.1", "--port", str(ports[command])] if command in ports else []
        with self.log(command).open("ab") as log:
            process = subprocess.Popen(
                [*ENGARDE, command, *address], env=self.environment(command), stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def start_code_server(self) -> subprocess.Popen[bytes]:
        process = self.start("code-server")
        eventually(lambda: self.is_healthy("code-server"), f"a code server: {self.log('code-server')}", 90)
        return process

    def is_healthy(self, command: str) -> bool:
        """Whether the documented check succeeds, with the variables of the process that it checks."""
        checks = {
            "code-server": ["dagster", "api", "grpc-health-check", "--port", str(self.code_server_port)],
            "daemon": ["dagster-daemon", "liveness-check"],
        }
        program, *arguments = checks[command]
        done = subprocess.run(
            [Path(sys.executable).with_name(program), *arguments],
            env=self.environment(command),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def doctor(self, process: str, command: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `engarde doctor --for`, with the variables of the process."""
        return subprocess.run(
            [*ENGARDE, "doctor", "--for", process],
            env=self.environment(command or process),
            capture_output=True,
            text=True,
            check=False,
        )

    def log(self, command: str) -> Path:
        return self.home.with_name(f"{command}.log")

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=150)


_BARE = {"PATH": os.environ.get("PATH", os.defpath), "COLUMNS": "300"}
"""What every process has: no variable of Dagster's or the pipeline's."""
