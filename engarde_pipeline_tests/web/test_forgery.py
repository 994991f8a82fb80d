"""Requests that other sites cause in a browser with a session: none of them changes anything."""

import re
from uuid import UUID

import pytest
from dagster import DagsterInstance
from fastapi.routing import APIRoute, iter_route_contexts

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.web.page_route import PublicRoute
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import browser

SAFE = {"GET", "HEAD", "OPTIONS"}
PROXY = "https://metrics.example.com"

DIRECT = [
    {},
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://{host}0"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://localhost"},
    {"Origin": "https://{host}"},
    {"Origin": "http://{host}@evil.example"},
    {"Origin": "http://{host}", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "none, same-origin"},
    {"Referer": "http://{host}/"},
]
BEHIND_A_PROXY = [
    {},
    {"Origin": "null"},
    {"Origin": "http://{host}"},
    {"Origin": "http://metrics.example.com"},
    {"Origin": f"{PROXY}:8443"},
    {"Origin": f"{PROXY}.evil.example"},
    {"Origin": PROXY, "Sec-Fetch-Site": "cross-site"},
]


def _changing(service: Service) -> list[tuple[str, str, type]]:
    """Return the method, path and kind of each route that can change something."""
    return [
        (method, str(route.path), type(route.original_route))
        for route in iter_route_contexts(service.app.routes)
        if isinstance(route.original_route, APIRoute)
        for method in sorted((route.methods or set()) - SAFE)
    ]


def _url(path: str, tenant: UUID) -> str:
    return re.sub(r"{\w+}", str(tenant), path)


def _expect_refused(service: Service, tenant: UUID, headers: dict[str, str]) -> None:
    host = service.url.removeprefix("http://")
    given = {name: value.format(host=host) for name, value in headers.items()}
    with browser(service, tenant) as client:
        for method, path, kind in _changing(service):
            answer = client.request(method, _url(path, tenant), headers=given, data={"tenant_id": str(tenant)})
            if issubclass(kind, PublicRoute):
                assert answer.status_code == 403, path
                assert "not sent by one of these pages" in answer.text
                assert "set-cookie" not in answer.headers
            else:
                assert answer.status_code == 401, path


def test_every_route_that_changes_something_is_a_page_or_needs_a_token(service: Service) -> None:
    changing = _changing(service)
    paths = {path for _, path, _ in changing}

    assert {"/tenant", "/logout"} <= paths
    assert any(path.endswith("/sync") for path in paths)
    assert [path for _, path, kind in changing if not issubclass(kind, PublicRoute | AuthenticatedRoute)] == []


@pytest.mark.parametrize("headers", DIRECT)
def test_a_form_of_another_site_is_refused(service: Service, shop: Shop, headers: dict[str, str]) -> None:
    _expect_refused(service, shop.tenant, headers)


@pytest.mark.parametrize("headers", BEHIND_A_PROXY)
def test_behind_a_proxy_a_form_must_come_from_the_public_address(
    shop: Shop, instance: DagsterInstance, headers: dict[str, str]
) -> None:
    with serving(settings(shop.world.database_url, api_public_url=PROXY), instance) as service:
        _expect_refused(service, shop.tenant, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "{url}"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},  # as of a page without referrers
    ],
)
def test_a_form_of_our_own_pages_is_accepted(service: Service, shop: Shop, headers: dict[str, str]) -> None:
    given = {name: value.format(url=service.url) for name, value in headers.items()}
    with browser(service, shop.tenant) as client:
        answer = client.post("/tenant", data={"tenant_id": str(shop.tenant)}, headers=given)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        answer = client.post("/logout", headers=given)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert client.get("/").headers["location"].startswith("/login")
