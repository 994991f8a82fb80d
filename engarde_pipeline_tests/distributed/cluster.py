"""A redis, and workers as processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engarde_pipeline
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.servers import installed_program

ROOT = Path(engarde_pipeline.__file__).parents[1]
RUN_LAUNCHER = (ROOT / "deploy" / "run-launcher-celery.yaml").read_text()


class Worker:
    """A running `engarde worker`."""

    def __init__(self, name: str, directory: Path, *options: str) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engarde_pipeline.cli", "worker", "--name", name, *options],
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group, as of a machine
            )

    @property
    def log(self) -> str:
        """Everything that it and its runs have printed."""
        return self._log.read_text()

    @property
    def runs(self) -> int:
        """How many runs it has taken."""
        return self.log.count("] received")

    def wait_until_ready(self) -> None:
        """Wait until it takes runs."""

        def is_ready() -> bool:
            assert self._process.poll() is None, self.log
            return f"{self.name}@{socket.gethostname()} ready." in self.log

        eventually(is_ready, "a worker that is ready", 60)

    def terminate(self) -> None:
        """Ask it to stop, as a container's runtime does."""
        self._process.terminate()

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Kill it and the processes of its runs."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self.kill()


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Run redis on a free port; yield its address."""
    program = installed_program("redis-server")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    process = start_redis(program, port, directory)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


def start_redis(program: Path, port: int, directory: Path) -> "subprocess.Popen[bytes]":
    """Start redis and wait until it accepts connections."""
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "redis does not start"
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.02)
    raise AssertionError("redis does not start")
