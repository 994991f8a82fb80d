"""The service around its endpoints: errors, limits, health, and what happens when a server is slow or dead."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from dagster import DagsterInstance
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from sqlalchemy.engine import make_url

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

ENDPOINTS = [
    ("POST", "/sync"),
    ("GET", "/sync-status"),
    ("GET", "/metrics"),
    ("GET", f"/metrics/{uuid4()}"),
    ("GET", "/assets/metrics"),
    ("GET", f"/assets/{uuid4()}/metrics"),
    ("GET", "/rejected-records"),
    ("GET", f"/sync-jobs/{uuid4()}"),
    ("GET", f"/sync-jobs/{uuid4()}/events"),
    ("GET", "/live"),
]
DAY = date(2026, 3, 1)
# A schema cannot say that the start lies before the end, or that a campaign is there.
load_all_checks()
NOT_IN_A_SCHEMA: Any = CHECKS.get_by_names(["positive_data_acceptance"])
EXAMPLES = hypothesis_settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
QUICK = 8
"""Seconds: far less than a client waits, more than the service lets anything wait."""


def test_no_endpoint_answers_without_a_token(api: Service) -> None:
    for method, path in ENDPOINTS:
        answer = api.client.request(method, PREFIX + path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_paths_and_methods_are_problems_too(api: Service) -> None:
    assert api.client.get("/nothing").json()["status"] == 404
    assert api.client.delete(f"{PREFIX}/metrics").json()["status"] == 405


def test_who_does_not_say_who_he_is_is_not_read(api: Service) -> None:
    for body in (b"{", b"\xff", b" " * 2**21):
        answer = api.client.post(f"{PREFIX}/sync", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"{", "application/json", "body: is not valid JSON"),
        (b"\xff", "application/json", "body: cannot be read; send JSON, encoded in UTF-8"),
        (b'{"start_date": "2026-03-01"}', "text/plain", "Content-Type: application/json"),
        (b"[]", "application/json", "body: is not a JSON object"),
    ],
)
def test_a_body_that_cannot_be_used_says_why(api: Service, shop: Shop, body: bytes, kind: str, says: str) -> None:
    headers = {**api.headers(shop.tenant), "Content-Type": kind}

    answer = api.client.post(f"{PREFIX}/sync", content=body, headers=headers)

    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "body"


def test_a_body_of_megabytes_is_refused(api: Service, shop: Shop) -> None:
    headers = {**api.headers(shop.tenant), "Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100_000

    for content in (b" " * 2**21, chunks()):
        answer = api.client.post(f"{PREFIX}/sync", content=content, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (413, "Request too large")


def test_a_slash_at_the_end_is_another_path(api: Service) -> None:
    assert api.client.get(f"{PREFIX}/metrics/").status_code in (401, 404)
    assert api.client.get(f"{PREFIX}/sync-status/").status_code == 404


def test_a_postgres_that_was_restarted_is_found_again_by_the_next_request(api: Service, shop: Shop) -> None:
    with ThreadPoolExecutor(20) as threads:  # so that every connection of the pool is made
        list(threads.map(lambda _: api.get("/metrics", shop.tenant), range(40)))

    shop.world.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'engarde_api'"
    )

    assert [api.get("/metrics", shop.tenant).status_code for _ in range(8)] == 8 * [200]


def test_it_says_that_it_lives_and_that_it_is_ready(api: Service) -> None:
    assert api.client.get("/health/live").json() == {"status": "live"}
    assert api.client.get("/health/ready").json() == {"status": "ready"}
    assert api.client.head("/health/live").status_code == api.client.head("/health/ready").status_code == 200


def test_a_tenant_that_asks_too_much_waits_and_others_do_not(configured: World, instance: DagsterInstance) -> None:
    one, other = configured.tenant("One"), configured.tenant("Other")
    with serving(settings(configured.database_url, api_rate_limit="3/hour"), instance) as service:
        answers = [service.get("/metrics", one) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert service.get("/metrics", other).status_code == 200


def test_web_pages_may_call_only_from_the_origins_that_are_set(
    configured: World, instance: DagsterInstance
) -> None:
    allowed = settings(configured.database_url, api_cors_origins="https://app.example.com, https://b.example.com")
    with serving(allowed, instance) as service:
        ask = {"Access-Control-Request-Method": "GET"}
        for origin, status in (("https://b.example.com", 200), ("https://evil.example.com", 400)):
            answer = service.client.options(f"{PREFIX}/metrics", headers={"Origin": origin, **ask})
            assert answer.status_code == status


@contextmanager
def _wall(database_url: str) -> Iterator[tuple[str, threading.Event]]:
    """Stand between the API and Postgres; once the event is set, nothing passes, and nothing is refused."""
    url = make_url(database_url)
    target = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
    blocked = threading.Event()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            if blocked.is_set():
                return
            sink.sendall(data)

    def accept(listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(target)
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        through = url.set(host="127.0.0.1", port=listening.getsockname()[1], query={})
        yield through.render_as_string(hide_password=False), blocked


@pytest.mark.long
def test_a_postgres_that_no_longer_answers_gives_503_and_no_pile_of_requests(
    shop: Shop, instance: DagsterInstance
) -> None:
    usual = settings(shop.world.database_url)
    with _wall(usual.api_login) as (through, blocked):
        behind = usual.model_copy(update={"api_database_url": SecretStr(through)})
        with serving(behind, instance) as service:
            assert service.get("/metrics", shop.tenant).status_code == 200
            blocked.set()
            started = time.monotonic()
            with ThreadPoolExecutor(30) as threads:
                answers = list(threads.map(lambda _: service.get("/metrics", shop.tenant), range(30)))
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            assert time.monotonic() - started < QUICK
            assert service.client.get("/health/ready").status_code == 503
            assert service.client.get("/health/live").status_code == 200


def test_a_table_that_is_locked_gives_503(api: Service, shop: Shop) -> None:
    with connect(shop.world.database_url) as other, other.transaction():
        other.execute("LOCK TABLE campaign_metrics, platform_days")
        assert api.get("/metrics", shop.tenant).status_code == 503
    assert api.get("/metrics", shop.tenant).status_code == 200


def test_a_dagster_that_does_not_answer_gives_503_and_metrics_go_on(api: Service, shop: Shop) -> None:
    with connect(os.environ["DAGSTER_DATABASE_URL"]) as other, other.transaction():
        other.execute("LOCK TABLE runs")  # nobody else can record a run now
        started = time.monotonic()
        assert api.sync(shop.tenant, {"start_date": "2026-03-01", "end_date": "2026-03-01"}).status_code == 503
        assert time.monotonic() - started < QUICK
        assert api.get("/metrics", shop.tenant).status_code == 200


@pytest.mark.long
def test_the_service_keeps_to_its_own_openapi_document(api: Service, shop: Shop) -> None:
    shop.load(DAY)
    shop.load_unmapped(DAY)
    shop.world.sync(DAY)
    shop.world.sync(DAY, table=ASSET_METRICS)
    document = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    headers = api.headers(shop.tenant)
    tried = []
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path == f"{PREFIX}/live":
            continue  # its responses do not end
        tried.append(operation.label)

        @hypothesis_settings(
            max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def keeps_to_it(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=headers, excluded_checks=NOT_IN_A_SCHEMA)

        keeps_to_it()
    assert len(tried) == 11
