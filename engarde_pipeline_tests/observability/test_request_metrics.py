"""The metrics of the API's requests, by route and never by path."""

import re
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from dagster import DagsterInstance
from prometheus_client import start_http_server

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.observability.conftest import samples_of
from engarde_pipeline_tests.servers import installed_program
from engarde_pipeline_tests.shop import Shop


@pytest.fixture
def service(instance: DagsterInstance, shop: Shop) -> Iterator[Service]:
    with serving(settings(shop.world.database_url), instance) as running:
        yield running


def test_requests_are_counted_by_route_method_and_status(service: Service, shop: Shop) -> None:
    registry = service.app.state.request_metrics.registry
    server, _ = start_http_server(0, "127.0.0.1", registry)
    for campaign in (shop.first, shop.second, uuid4()):
        service.get(f"/metrics/{campaign}", shop.tenant)
    service.client.get(f"{PREFIX}/metrics")
    service.client.request("PROPFIND", f"{PREFIX}/metrics")
    for path in ("/nothing", f"/{uuid4()}", "/docs"):
        service.client.get(path)
    text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
    server.shutdown()
    server.server_close()

    found = samples_of(text)
    route = f"{PREFIX}/metrics/{{campaign_space_id}}"
    assert found["engarde_api_requests_total"] == {
        ("GET", route, "200"): 2,
        ("GET", route, "404"): 1,
        ("GET", f"{PREFIX}/metrics", "401"): 1,
        ("unknown", f"{PREFIX}/metrics", "405"): 1,
        ("GET", "unknown", "404"): 2,
        ("GET", "unknown", "200"): 1,
    }
    assert found["engarde_api_request_duration_seconds_count"]["GET", route] == 3
    assert set(found["engarde_api_requests_in_progress"].values()) == {0}
    assert not re.search(str(shop.first), text)
    command = [str(installed_program("promtool")), "check", "metrics"]
    said = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
