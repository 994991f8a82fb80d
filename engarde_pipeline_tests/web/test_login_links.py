"""One-time links: each logs in once, soon after it was made, in the embedded default only, and is in no log."""

import io
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from dagster import DagsterInstance

from engarde_pipeline.api.request_log import is_untraced
from engarde_pipeline.api.sessions import COOKIE
from engarde_pipeline.web.login_links import LinkRefused, LoginLinks
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import browser, text_of


@pytest.fixture
def links(tmp_path: Path) -> LoginLinks:
    return LoginLinks(tmp_path / "home")


@pytest.fixture
def service(shop: Shop, instance: DagsterInstance, links: LoginLinks) -> Iterator[Service]:
    with serving(settings(shop.world.database_url), instance, links) as running:
        yield running


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Yield what all loggers log at any level."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(message)s %(args)s"))
    root, names = logging.getLogger(), ("", "engarde_pipeline", "uvicorn", "httpx")
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(handler)
    for name in names[:3]:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client of this test
    try:
        yield text
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_a_link_logs_in_once(service: Service, shop: Shop, links: LoginLinks) -> None:
    other = shop.world.tenant("Zebra")
    token = links.create([other, shop.tenant])
    with browser(service) as client:
        answer = client.get("/login/link", params={"token": token})

        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert answer.headers["referrer-policy"] == "no-referrer"
        (cookie,) = answer.headers.get_list("set-cookie")
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        page = client.get("/")
        assert page.status_code == 200
        # The first by name is shown.
        assert re.search(rf'<option value="{shop.tenant}" selected>Acme</option>', page.text)
        assert f'<option value="{other}">Zebra</option>' in page.text

    with browser(service) as client:
        again = client.get("/login/link", params={"token": token})
        assert again.status_code == 403
        assert "used already" in text_of(again)
        assert "engarde page" in text_of(again)
        assert again.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in again.headers
        assert client.get("/").status_code == 303


def test_of_many_requests_with_a_link_one_logs_in(links: LoginLinks) -> None:
    tenant = uuid4()
    for _ in range(20):
        token = links.create([tenant])

        def is_accepted(_: int, token: str = token) -> bool:
            try:
                return links.consume(token) == (tenant,)
            except LinkRefused:
                return False

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(is_accepted, range(8))) == 1


def test_a_link_that_has_expired_says_so(service: Service, shop: Shop, links: LoginLinks) -> None:
    token = links.create([shop.tenant], timedelta(seconds=-1))
    with browser(service) as client:
        answer = client.get("/login/link", params={"token": token})

    assert answer.status_code == 403
    assert "expired: it is valid for 10 minutes" in text_of(answer)
    assert "engarde page" in text_of(answer)


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=x", "?token=../../x", "?token=%00", "?token=%ff", "?t=1"]
)
def test_a_link_that_is_unknown_says_what_to_do(service: Service, links: LoginLinks, query: str) -> None:
    with browser(service) as client:
        answer = client.get(f"/login/link{query}")

    assert answer.status_code == 403
    assert "engarde page" in text_of(answer)


def test_what_is_stored_does_not_log_in(tmp_path: Path, links: LoginLinks) -> None:
    tenant = uuid4()
    token = links.create([tenant])
    (file,) = (tmp_path / "home" / "login_links").iterdir()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert token not in file.read_text() + file.name
    with pytest.raises(LinkRefused):
        links.consume(file.name)
    assert json.loads(file.read_text())["tenant_ids"] == [str(tenant)]
    assert links.consume(token) == (tenant,)


def test_old_links_are_deleted(tmp_path: Path, links: LoginLinks) -> None:
    links.create([uuid4()])
    (old,) = (tmp_path / "home" / "login_links").iterdir()
    os.utime(old, (0, 0))

    links.create([uuid4()])

    (new,) = (tmp_path / "home" / "login_links").iterdir()
    assert new != old


def test_a_link_stands_in_no_log(service: Service, shop: Shop, links: LoginLinks) -> None:
    tokens = [links.create([shop.tenant]), "an-unknown-token-of-32-characters"]
    with everything_logged() as log, browser(service) as client:
        for token in tokens:
            client.get("/login/link", params={"token": token})

    assert "GET /login/link: 303" in log.getvalue()
    assert "GET /login/link: 403" in log.getvalue()
    for token in tokens:
        assert token not in log.getvalue()


@pytest.mark.parametrize(
    ("path", "is_traced"), [("/login/link", False), ("/login/callback", False), ("/login", True), ("/", True)]
)
def test_a_request_whose_query_is_a_secret_is_not_traced(path: str, is_traced: bool) -> None:
    assert is_untraced({"type": "http", "path": path}) == (not is_traced)


def test_guesses_are_limited(service: Service, shop: Shop, links: LoginLinks) -> None:
    token = links.create([shop.tenant])
    with browser(service) as client:
        answers = [client.get("/login/link", params={"token": f"guess-{n}"}) for n in range(25)]
        # Then not even the right one is tried.
        right = client.get("/login/link", params={"token": token})

    codes = [answer.status_code for answer in answers]
    assert codes.count(403) in (20, 21)  # one more if a minute ends in between
    assert codes == sorted(codes)
    assert codes[-1] == 429
    assert (right.status_code, COOKIE in right.headers.get("set-cookie", "")) == (429, False)
    assert int(right.headers["retry-after"]) <= 60
    assert "Try again in a minute" in text_of(right)
    assert links.consume(token) == (shop.tenant,)


def test_links_that_log_in_are_not_limited(service: Service, shop: Shop, links: LoginLinks) -> None:
    with browser(service) as client:
        for _ in range(25):
            assert client.get("/login/link", params={"token": links.create([shop.tenant])}).status_code == 303


def test_a_link_to_tenants_that_are_gone_says_so(service: Service, links: LoginLinks) -> None:
    with browser(service) as client:
        answer = client.get("/login/link", params={"token": links.create([uuid4()])})

    assert answer.status_code == 403
    assert "exists here" in text_of(answer)


def test_the_login_says_how_to_get_a_link(service: Service) -> None:
    with browser(service) as client:
        answer = client.get("/login")

    assert answer.status_code == 200
    assert "Run engarde page in a terminal" in text_of(answer)


def test_production_accepts_no_link(shop: Shop, instance: DagsterInstance, links: LoginLinks) -> None:
    token = links.create([shop.tenant])
    with serving(settings(shop.world.database_url), instance) as service, browser(service) as client:
        answer = client.get("/login/link", params={"token": token})
        login = client.get("/login")

    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers
    assert links.consume(token) == (shop.tenant,)  # it was not looked at
    for name in ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "API_PUBLIC_URL"):
        assert name in text_of(login)
    assert "engarde page" not in text_of(login)


def test_with_an_identity_provider_no_link_is_accepted(
    shop: Shop, instance: DagsterInstance, links: LoginLinks
) -> None:
    token = links.create([shop.tenant])
    provider = {
        "oidc_issuer": "https://login.example.com",
        "oidc_client_id": "page",
        "oidc_client_secret": "secret",
        "api_public_url": "https://metrics.example.com",
    }
    with (
        serving(settings(shop.world.database_url, **provider), instance, links) as service,
        browser(service) as client,
    ):
        assert client.get("/login/link", params={"token": token}).status_code == 404
