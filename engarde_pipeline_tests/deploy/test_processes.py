"""The commands of deploy/compose.yaml as processes, from the empty server to a sync that the API was asked for."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engarde_pipeline.api.tokens import mint
from engarde_pipeline.local.sample_campaigns import TENANTS
from engarde_pipeline_tests.deploy.compose import REQUIRED, services
from engarde_pipeline_tests.deploy.deployment import EMULATOR, Deployment
from engarde_pipeline_tests.deploy.network import network
from engarde_pipeline_tests.servers import installed_program

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("image")]

PREFIX = "http://api:8000/api/campaign-performance"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    installed_program("redis-server")
    with TemporaryDirectory(prefix="engarde-compose-") as made, ExitStack() as stack:
        directory = Path(made)
        directory.chmod(0o755)
        names = list(services(**EMULATOR))
        deployment = Deployment(stack.enter_context(network(names, directory)), directory)
        stack.callback(deployment.kill)
        yield deployment


def test_all_services_start_sync_and_stop(deployment: Deployment) -> None:
    deployment.start_postgres()
    deployment.start_emulator()
    for name in deployment.services:
        if name not in deployment.running:
            deployment.up(name)

    token = mint(REQUIRED["JWT_SECRET_KEY"], TENANTS[0].id, "test", timedelta(hours=1))
    # Older than the window that the schedule syncs, which has started already.
    today = datetime.now(UTC).date()
    dates = [str(today - timedelta(days=ago)) for ago in (62, 61, 60)]
    asked = {"start_date": dates[0], "end_date": dates[-1]}
    job = deployment.request(f"{PREFIX}/sync", token, asked)["sync_job"]
    deadline = time.monotonic() + 300
    while job["status"] not in ("completed", "failed"):
        assert time.monotonic() < deadline, job
        time.sleep(2)
        job = deployment.request(f"{PREFIX}/sync-jobs/{job['id']}", token)["sync_job"]
    assert job["status"] == "completed", job
    assert job["id"] in deployment.log("worker")
    query = f"start_date={dates[0]}&end_date={dates[-1]}&group_by=date"
    found = deployment.request(f"{PREFIX}/metrics?{query}", token)
    assert [point["date"] for point in found["metrics"]] == dates

    checked = [name for name, service in deployment.services.items() if "healthcheck" in service]
    assert [name for name in checked if not deployment.is_healthy(name)] == []
    assert deployment.down() == []
