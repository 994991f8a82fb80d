"""Sessions: what is in their cookie, which cookies are none, and where they are accepted."""

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from dagster import DagsterInstance
from fastapi.routing import iter_route_contexts
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_socket

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.sessions import (
    COOKIE,
    MAX_TENANTS,
    MAX_USER_ID,
    Session,
    new_session,
    read_session,
    session_key,
    sign,
    signed,
)
from engarde_pipeline.api.tokens import mint
from engarde_pipeline_tests.api.service import SECRET, Service, serving, settings
from engarde_pipeline_tests.api.test_events import events
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import SAME_ORIGIN, browser, text_of

TENANT = UUID("aaaaaaaa-0000-4000-8000-00000000000a")
LATER = int(time.time()) + 24 * 3600
PACKED = base64.urlsafe_b64encode(TENANT.bytes).decode()
CLAIMS: dict[str, Any] = {"sub": "ada", "tenants": PACKED, "shown": 0, "exp": LATER}
SECONDS = 20


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _tampered() -> str:
    head, _, signature = sign(CLAIMS, SECRET, "session").split(".")
    other = base64.urlsafe_b64encode(uuid4().bytes).decode()
    return f"{head}.{_part({**CLAIMS, 'tenants': other})}.{signature}"


HOSTILE = {
    "nothing": "",
    "not a token": "x",
    "dots": "..",
    "a bearer token": mint(SECRET, TENANT, "ada", timedelta(hours=1)),
    "the bearer tokens' key": jwt.encode(CLAIMS, SECRET, "HS256"),
    "the key of a login": sign(CLAIMS, SECRET, "login"),
    "another secret": sign(CLAIMS, SECRET + "x", "session"),
    "HS512 with the right key": jwt.encode(CLAIMS, session_key(SECRET, "session") * 2, "HS512"),
    "alg none": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(CLAIMS)}.",
    "no signature": sign(CLAIMS, SECRET, "session").rpartition(".")[0] + ".",
    "tampered": _tampered(),
    "expired": sign({**CLAIMS, "exp": int(time.time()) - 1}, SECRET, "session"),
    "no expiry": sign({"sub": "ada", "tenants": PACKED, "shown": 0}, SECRET, "session"),
    # Signed by us, in a form of another version.
    "tenants as a list": sign(
        {"sub": "ada", "tenant_id": str(TENANT), "tenant_ids": [str(TENANT)], "exp": LATER}, SECRET, "session"
    ),
    "no subject": sign({"tenants": PACKED, "shown": 0, "exp": LATER}, SECRET, "session"),
    "a subject that is a number": sign({**CLAIMS, "sub": 7}, SECRET, "session"),
    "no tenants": sign({**CLAIMS, "tenants": ""}, SECRET, "session"),
    "half a tenant": sign({**CLAIMS, "tenants": PACKED[:8]}, SECRET, "session"),
    "tenants as a number": sign({**CLAIMS, "tenants": 7}, SECRET, "session"),
    "tenants as null": sign({**CLAIMS, "tenants": None}, SECRET, "session"),
    "tenants that are no base64": sign({**CLAIMS, "tenants": "é"}, SECRET, "session"),
    "shown beyond the tenants": sign({**CLAIMS, "shown": 1}, SECRET, "session"),
    "shown as a text": sign({**CLAIMS, "shown": "0"}, SECRET, "session"),
    "an endless expiry": jwt.encode({**CLAIMS, "exp": float("inf")}, session_key(SECRET, "session"), "HS256"),
    "an expiry that is a text": jwt.encode({**CLAIMS, "exp": "x"}, session_key(SECRET, "session"), "HS256"),
}


def test_a_session_is_read_as_it_was_signed() -> None:
    tenants = tuple(uuid4() for _ in range(3))
    session = new_session("ada", tenants).switched_to(tenants[2])

    assert read_session(signed(session, SECRET), SECRET) == session


def test_the_cookie_of_the_most_tenants_is_one_that_browsers_keep() -> None:
    tenants = tuple(uuid4() for _ in range(MAX_TENANTS))
    # Each of these characters takes two bytes in JSON.
    session = new_session('"' * MAX_USER_ID, tenants).switched_to(tenants[-1])

    value = signed(session, SECRET)

    assert len(f"__Host-{COOKIE}") + len(value) < 4096
    assert read_session(value, SECRET) == session


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_another_cookie_is_no_session(value: str) -> None:
    assert read_session(value, SECRET) is None


def test_a_cookie_that_is_no_session_leads_to_the_login(service: Service) -> None:
    for name, value in HOSTILE.items():
        cookie = {b"Cookie": f"{COOKIE}={value}".encode()}
        answer = service.client.get("/?start_date=2026-03-01", headers=cookie)

        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/login?next=%2F%3Fstart_date%3D2026-03-01",
        ), name
        live = service.client.get(f"{PREFIX}/live", headers={**cookie, b"Sec-Fetch-Site": b"same-origin"})
        assert live.status_code == 401, name


def test_a_part_of_a_page_whose_session_has_expired_loads_the_login_as_a_whole(service: Service) -> None:
    answer = service.client.get("/", headers={"HX-Request": "true"})

    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login?next=%2F")


def test_a_session_is_no_bearer_token(service: Service, shop: Shop) -> None:
    value = signed(new_session("ada", (shop.tenant,)), SECRET)

    for path in ("/metrics", "/live"):
        answer = service.client.get(PREFIX + path, headers={"Authorization": f"Bearer {value}"})
        assert answer.status_code == 401


def test_only_live_updates_accept_a_session_instead_of_a_token(service: Service, shop: Shop) -> None:
    routes = {
        (method, str(route.path))
        for route in iter_route_contexts(service.app.routes)
        if isinstance(route.original_route, AuthenticatedRoute)
        for method in route.methods or ()
    }
    assert len(routes) > 8
    with browser(service, shop.tenant) as client:
        for method, path in routes - {("GET", f"{PREFIX}/live")}:
            url = re.sub(r"{\w+}", str(shop.first), path)
            answer = client.request(method, url, headers={**SAME_ORIGIN, "Origin": service.url})
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
        with client.stream("GET", f"{PREFIX}/live", headers=SAME_ORIGIN) as live:
            assert live.status_code == 200


OWN, FOREIGN = "{url}", "https://evil.example"
ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, True),
    ({"Origin": OWN}, True),
    ({"Referer": OWN + "/freshness?days=30"}, True),
    ({}, False),
    ({"Referer": "https://evil.example/"}, False),
    ({"Referer": "{url}.evil.example/"}, False),
    ({"Referer": OWN + "/", "Origin": FOREIGN}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, False),
    ({"Origin": FOREIGN}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "{url}0"}, False),
    ({"Origin": "{host}"}, False),
    ({"Origin": "https://{host}"}, False),
    ({"Origin": "{url}.evil.example"}, False),
]


@pytest.mark.parametrize(("headers", "is_accepted"), ORIGINS)
def test_live_updates_accept_a_session_from_this_servers_pages_only(
    service: Service, shop: Shop, headers: dict[str, str], is_accepted: bool
) -> None:
    host = service.url.removeprefix("http://")
    given = {name: value.format(url=service.url, host=host) for name, value in headers.items()}
    cookie = {"Cookie": f"{COOKIE}={signed(new_session('ada', (shop.tenant,)), SECRET)}"}

    with service.client.stream("GET", f"{PREFIX}/live", headers={**given, **cookie}) as answer:
        if not is_accepted:
            assert (answer.status_code, json.loads(answer.read())["title"]) == (403, "Not allowed")
        assert answer.status_code == (200 if is_accepted else 403)
    # A browser sends no Origin for a stream of events with plain HTTP, and always one for a WebSocket.
    address = f"ws://{host}{PREFIX}/live"
    if is_accepted and "Referer" not in headers:
        with connect_socket(address, additional_headers={**given, **cookie}):
            pass
    else:
        with pytest.raises(InvalidStatus) as refused:
            connect_socket(address, additional_headers={**given, **cookie})
        response = refused.value.response
        assert (response.status_code, response.headers["content-type"]) == (403, "application/problem+json")


def test_a_token_counts_whatever_the_cookie_and_the_origin_are(service: Service, shop: Shop) -> None:
    headers = {**service.headers(shop.tenant), "Cookie": f"{COOKIE}=x", "Origin": FOREIGN}

    with service.client.stream("GET", f"{PREFIX}/live", headers=headers) as answer:
        assert answer.status_code == 200


def test_live_connections_end_when_the_session_expires(service: Service, shop: Shop) -> None:
    session = Session("ada", shop.tenant, (shop.tenant,), int(time.time()) + 8)
    headers = {"Cookie": f"{COOKIE}={signed(session, SECRET)}", "Origin": service.url}
    host = service.url.removeprefix("http://")
    with (
        connect_socket(f"ws://{host}{PREFIX}/live", additional_headers=headers) as stream,
        service.client.stream("GET", f"{PREFIX}/live", headers=headers) as answer,
    ):
        assert list(events(answer)) == []
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(SECONDS)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_session_hears_of_the_tenant_that_it_shows(service: Service, shop: Shop) -> None:
    day = datetime.now(UTC).date() - timedelta(days=2)
    other = shop.world.tenant("Other")
    shop.load(day)
    host = service.url.removeprefix("http://")

    def listening(*tenants: UUID) -> Any:
        cookie = f"{COOKIE}={signed(new_session('ada', tenants), SECRET)}"
        headers = {"Cookie": cookie, "Origin": service.url}
        return connect_socket(f"ws://{host}{PREFIX}/live", additional_headers=headers)

    with listening(shop.tenant, other) as ours, listening(other, shop.tenant) as theirs:
        shop.world.sync(day)
        assert json.loads(ours.recv(SECONDS))["dates"] == [str(day)]
        with pytest.raises(TimeoutError):
            theirs.recv(1.5)


def test_the_requests_of_a_session_count_towards_the_rate_limit(shop: Shop, instance: DagsterInstance) -> None:
    with (
        serving(settings(shop.world.database_url, api_rate_limit="3/minute"), instance) as service,
        browser(service, shop.tenant) as client,
    ):
        answers = [client.get("/") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "Retry-After" in answers[-1].headers
    assert "rate limit" in text_of(answers[-1])


def test_with_https_cookies_are_sent_by_https_to_this_host_only(shop: Shop, instance: DagsterInstance) -> None:
    public = "https://metrics.example.com"
    other = shop.world.tenant("Other")
    value = signed(new_session("ada", (shop.tenant, other)), SECRET)
    with serving(settings(shop.world.database_url, api_public_url=public), instance) as service:

        def switch(cookie: str, origin: str) -> httpx.Response:
            headers = {"Cookie": f"{cookie}={value}", "Origin": origin}
            return service.client.post("/tenant", data={"tenant_id": str(other)}, headers=headers)

        answer = switch(f"__Host-{COOKIE}", public)
        assert answer.status_code == 303
        (cookie,) = answer.headers.get_list("set-cookie")
        assert cookie.startswith(f"__Host-{COOKIE}=")
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        # Another host of the domain can set a cookie of the plain name.
        assert switch(COOKIE, public).headers["location"].startswith("/login")
        for origin in (service.url, "http://metrics.example.com", f"{public}:8443", "https://example.com"):
            assert switch(f"__Host-{COOKIE}", origin).status_code == 403
