"""The metrics of the API's requests, by route and never by path."""

import re
import socket
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from dagster import DagsterInstance
from prometheus_client import generate_latest, start_http_server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.http_protocol import MAX_HEAD_BYTES
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.observability.conftest import Samples, samples_of
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


def test_sockets_are_counted_by_whether_they_were_accepted_and_refused_heads_too(
    service: Service, shop: Shop
) -> None:
    url = f"{service.url.replace('http', 'ws')}{PREFIX}/live"

    def found() -> Samples:
        return samples_of(generate_latest(service.app.state.request_metrics.registry).decode())

    route = ("GET", f"{PREFIX}/live")
    with connect_socket(url, additional_headers=service.headers(shop.tenant)):
        assert found()["engarde_api_requests_in_progress"][route] == 1
        assert "engarde_api_requests_total" not in found()
    with pytest.raises(InvalidStatus):
        connect_socket(url)
    address = httpx.URL(service.url)
    with socket.create_connection((address.host, address.port or 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Filler: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 431"

    counted = {(*route, "101"): 1, (*route, "401"): 1, ("unknown", "unknown", "431"): 1}
    eventually(lambda: found()["engarde_api_requests_total"] == counted, f"{counted}: {found()}", 20)
    assert found()["engarde_api_requests_in_progress"][route] == 0
