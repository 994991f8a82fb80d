"""Fixtures: a redis, and a Dagster instance whose runs are executed by workers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from engarde_pipeline_tests.distributed.cluster import RUN_LAUNCHER, Worker, redis_server
from engarde_pipeline_tests.world import World


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a redis."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def distributed(configured: World, redis: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """The configured world, with the run launcher of deploy/run-launcher-celery.yaml."""
    monkeypatch.setenv("ENGARDE_BROKER_URL", redis)
    with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as file:
        file.write(f"\n{RUN_LAUNCHER}")
    return configured


@pytest.fixture
def instance(distributed: World) -> Iterator[DagsterInstance]:
    with DagsterInstance.get() as opened:
        yield opened


@pytest.fixture
def start_worker(distributed: World, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers, which end with the test."""
    started: list[Worker] = []

    def start(name: str = "engarde", *options: str) -> Worker:
        started.append(Worker(name, tmp_path, *options))
        started[-1].wait_until_ready()
        return started[-1]

    yield start
    for worker in started:
        worker.stop()
