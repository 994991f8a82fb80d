"""(j) Runs on warm workers: the start of one small date, and a year's backfill with one worker and with two.

A worker forks the process of a run from one that has imported everything; without workers, a process is started
for each run. The year is split into runs, which are handed to the workers at once. Each worker executes one run
at a time. On one machine they share its cores with Postgres and the emulator.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import children, data, emulated, job
from benchmarks.samples import Samples
from benchmarks.world import World

DATES_PER_RUN = 30

_START_SECONDS = 120
_LAUNCHER = children.ROOT / "deploy" / "run-launcher-celery.yaml"


class NotStarted(Exception):
    """A server or worker that is measured with does not start."""


def measure(world: World, samples: Samples, emulator: dict[str, str], turn: int) -> None:
    """Measure one round; the order alternates with `turn`. Without redis on this machine, nothing is measured."""
    program = redis_server()
    if program is None:
        return
    with _redis(world, program) as broker:
        for workers in (1, 2) if turn % 2 else (2, 1):
            with world.database() as url:
                environment = _environment(world, emulator, url) | {"ENGARDE_BROKER_URL": broker}
                with _workers(world, environment, workers):
                    if workers == 1:
                        _launch(world, environment, 1, 1, "warming up")
                        date = _launch(world, environment, 1, 1, "a date, a warm worker")
                        samples.add("workers.date", date)
                    label = f"a year, {workers} worker{'s' * (workers > 1)}"
                    taken = _launch(world, environment, world.size.small_dates, DATES_PER_RUN, label)
                    samples.add(f"workers.year.{workers}", taken)
                if workers == 1:
                    with world.bars.part("a date, a process"):
                        answer = children.run(
                            world.directory, "benchmarks.job_process", ["pipeline", *_span(1)], environment
                        )
                    samples.add("workers.process", answer["seconds"])
                    # Both ask the same, and only the process notes how long it waits.
                    samples.add("workers.own", date - answer["bigquery"])


def redis_server() -> Path | None:
    """Return the program, or None if this machine has none."""
    program = shutil.which("redis-server", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    return Path(program) if program else None


def _launch(world: World, environment: Mapping[str, str], dates: int, dates_per_run: int, label: str) -> float:
    """Hand the first `dates` to the workers; return the seconds until the last run has ended."""
    with world.bars.part(label):
        arguments = [*_span(dates), dates_per_run]
        answer = children.run(world.directory, "benchmarks.workers_process", arguments, environment)
    return float(answer["seconds"])


def _span(dates: int) -> list[object]:
    days = data.days(dates)
    return [days[0], days[-1]]


def _environment(world: World, emulator: dict[str, str], url: str) -> dict[str, str]:
    home = world.directory / "distributed"
    home.mkdir(exist_ok=True)
    instance = (children.ROOT / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(f"{instance}\n{_LAUNCHER.read_text()}")
    return job.environment(world, emulator, url, emulated.SMALL) | {"DAGSTER_HOME": str(home)}


@contextmanager
def _redis(world: World, program: Path) -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(world.directory)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _workers(world: World, environment: Mapping[str, str], count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(_worker(world, environment, f"worker{number}"))
        yield


@contextmanager
def _worker(world: World, environment: Mapping[str, str], name: str) -> Iterator[None]:
    log = world.directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "engarde_pipeline.cli", "worker", "--name", name],
            cwd=children.ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while " ready." not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"the worker does not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
