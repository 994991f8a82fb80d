"""The real daemon, started as in production, on the configured world."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import engarde_pipeline

_PROJECT = Path(engarde_pipeline.__file__).parents[1]


@contextmanager
def running_daemon(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `dagster-daemon` with its code server until the block ends."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "engarde_pipeline.definitions"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=_PROJECT, stdout=output, stderr=output, env=os.environ.copy())
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def eventually(holds: Callable[[], bool], what: str, seconds: float = 240) -> float:
    """Wait until `holds()`; return how many seconds it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - started
