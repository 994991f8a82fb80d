"""Requests: their ids, in responses, the log and the runs that they start; and the trace from there to the run."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from dagster import DagsterInstance
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.http_protocol import MAX_HEAD_BYTES
from engarde_pipeline.telemetry.logs import JsonFormatter
from engarde_pipeline_tests.api.service import SECRET, Service, api_database_url, free_port
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.telemetry.collector import CollectedSpan, running_collector
from engarde_pipeline_tests.telemetry.lines import parsed

DAY = date(2026, 3, 1)

EXECUTE = """
import sys
from dagster import DagsterInstance
import engarde_pipeline.definitions
from engarde_pipeline_tests.dagster_runs import execute
with DagsterInstance.get() as instance:
    execute(instance, sys.argv[1])
"""


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the API logs, in JSON."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("engarde_pipeline.api")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield text
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health/live", 200), (f"{PREFIX}/metrics", 401), ("/nowhere", 404), (f"{PREFIX}/sync", 405)],
)
def test_every_response_has_the_id_of_its_request(api: Service, path: str, status: int) -> None:
    answer = api.client.get(path, headers={"X-Request-ID": "caller-7:42"})

    assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "caller-7:42")


@pytest.mark.parametrize("given", ["", "a" * 129, 'quo"te', "two words", "ümlaut", "-option"])
def test_an_id_that_cannot_be_used_is_replaced(api: Service, given: str) -> None:
    answer = api.client.get("/health/live", headers={b"X-Request-ID": given.encode()})

    assert answer.status_code == 200
    assert len(answer.headers["X-Request-ID"]) == 32
    assert answer.headers["X-Request-ID"] != given


def test_a_request_that_is_refused_by_the_protocol_has_an_id(api: Service) -> None:
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 0)) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: api\r\nX-Filler: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n"
        )
        head = connection.makefile("rb").read().partition(b"\r\n\r\n")[0].decode()

    assert head.startswith("HTTP/1.1 431 ")
    assert len(head.partition("x-request-id: ")[2].partition("\r\n")[0]) == 32


def test_a_request_is_logged_with_its_id_tenant_route_and_status(
    api: Service, shop: Shop, log: io.StringIO
) -> None:
    campaign = uuid4()
    headers = {**api.headers(shop.tenant), "X-Request-ID": "r1"}
    api.client.get(f"{PREFIX}/metrics/{campaign}", params={"start_date": "2026-03-01"}, headers=headers)
    api.client.get("/health/live")

    (event,) = parsed(log.getvalue())
    assert (event["request_id"], event["tenant"], event["level"]) == ("r1", str(shop.tenant), "info")
    assert (event["method"], event["path"], event["status"]) == ("GET", f"{PREFIX}/metrics/{campaign}", 404)
    assert event["route"] == "/metrics/{campaign_space_id}"
    assert event["message"].startswith(f"GET {PREFIX}/metrics/{campaign}: 404, ")
    assert event["duration_seconds"] > 0


def test_a_socket_is_logged_with_its_id_and_how_it_was_answered(
    api: Service, shop: Shop, log: io.StringIO
) -> None:
    url = f"{api.url.replace('http', 'ws')}{PREFIX}/live"
    with connect_socket(url, additional_headers={**api.headers(shop.tenant), "X-Request-ID": "s1"}) as stream:
        assert stream.response is not None
        assert stream.response.headers["X-Request-ID"] == "s1"
        assert not log.getvalue()
    with pytest.raises(InvalidStatus) as refused:
        connect_socket(url, additional_headers={"X-Request-ID": "s2"})
    assert refused.value.response.headers["X-Request-ID"] == "s2"

    eventually(lambda: log.getvalue().count("\n") == 2, "two lines", 20)
    events = {event["request_id"]: event for event in parsed(log.getvalue())}
    assert (events["s1"]["status"], events["s2"]["status"]) == (101, 401)
    assert events["s1"]["tenant"] == str(shop.tenant)
    assert {(event["method"], event["path"]) for event in events.values()} == {("GET", f"{PREFIX}/live")}
    assert all(event["route"].endswith("/live") for event in events.values())


def test_an_unexpected_error_is_logged_and_answered_with_the_id(
    api: Service, shop: Shop, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.app.state, "rate_limit", None)

    answer = api.client.get(f"{PREFIX}/metrics", headers={**api.headers(shop.tenant), "X-Request-ID": "r2"})

    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "r2")
    error, line = parsed(log.getvalue())
    assert (error["level"], error["request_id"]) == ("error", "r2")
    assert "AttributeError" in error["exception"]
    assert (line["level"], line["status"], line["request_id"]) == ("warning", 500, "r2")


def test_a_run_has_the_id_of_the_request_that_started_it(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    answer = api.sync(shop.tenant, {"start_date": str(DAY), "end_date": str(DAY)})

    run = instance.get_run_by_id(answer.json()["sync_job"]["id"])
    assert run is not None
    assert run.tags["engarde/request_id"] == answer.headers["X-Request-ID"]
    assert "traceparent" not in run.tags


@pytest.mark.long
def test_a_request_and_its_run_are_one_trace_and_have_one_id_in_their_logs(
    api: Service, instance: DagsterInstance, shop: Shop, webserver_url: str, tmp_path: Path
) -> None:
    shop.load(DAY)
    port, api_log = free_port(), tmp_path / "api.log"
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with running_collector() as collector:
        environment = {
            **os.environ,
            "ENGARDE_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "JWT_SECRET_KEY": SECRET,
            "API_DATABASE_URL": api_database_url(shop.world.database_url),
            "ENGARDE_WEBSERVER_URL": webserver_url,
        }
        command = [sys.executable, "-m", "engarde_pipeline.cli", "api", "--port", str(port)]
        with (
            api_log.open("w") as output,
            subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            try:
                eventually(lambda: _responds(client), "the API starts", 120)
                answer = client.post(
                    f"{PREFIX}/sync",
                    json={"start_date": str(DAY), "end_date": str(DAY), "all_tenants": True},
                    headers={
                        **api.headers(shop.tenant, "sync:all"),
                        "X-Request-ID": "request-9",
                        "traceparent": parent,
                    },
                )
            finally:
                process.send_signal(signal.SIGINT)
        assert answer.status_code == 202, answer.text
        run_id = answer.json()["sync_job"]["id"]
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE, run_id],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    events = parsed(api_log.read_text())
    (line,) = [event for event in events if event.get("path") == f"{PREFIX}/sync"]
    assert (line["request_id"], line["trace_id"]) == ("request-9", parent.split("-")[1])
    assert {event["request_id"] for event in parsed(done.stderr) if event.get("run_id")} == {"request-9"}

    spans = [span for span in collector.spans if span.trace_id == parent.split("-")[1]]
    names = [span.name for span in spans]
    assert {"run", "sync", "read", "stage", "prepare", "merge", "update totals", "check"} <= set(names)
    by_id = {span.span_id: span for span in spans}
    request = _named(spans, f"POST {PREFIX}/sync")
    assert (request.service, request.parent_id) == ("engarde-api", parent.split("-")[2])
    run = _named(spans, "run")
    assert (run.service, run.parent_id) == ("engarde-pipeline", request.span_id)
    assert run.attributes["engarde.run_id"] == run_id
    merge = next(span for span in spans if span.name == "merge")
    assert by_id[merge.parent_id].name == "sync"
    assert merge.attributes["engarde.date"] == str(DAY)
    assert not [span.name for span in spans if span.is_error]


def _responds(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").is_success
    except httpx.TransportError:
        return False


def _named(spans: list[CollectedSpan], name: str) -> CollectedSpan:
    (found,) = (span for span in spans if span.name == name)
    return found
