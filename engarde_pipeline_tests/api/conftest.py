"""Fixtures: the API, with a daemon that is said to live, and runs that the tests execute themselves."""

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat

from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.world import World


@pytest.fixture
def daemon(instance: DagsterInstance) -> None:
    """The heartbeat of a daemon that lives: queued runs stay queued until the test executes them."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "QUEUED_RUN_COORDINATOR", str(uuid4()), []))


@pytest.fixture
def api(configured: World, instance: DagsterInstance, daemon: None) -> Iterator[Service]:
    with serving(settings(configured.database_url, api_rate_limit="1000000/minute"), instance) as service:
        yield service
