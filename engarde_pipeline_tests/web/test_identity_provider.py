"""The login with OpenID Connect, with a real provider that behaves well, and with one that does not."""

import base64
import hmac
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx
import jwt
import pytest
from dagster import DagsterInstance

from engarde_pipeline.api.sessions import COOKIE, MAX_TENANTS, Session, read_session, sign
from engarde_pipeline.web.login_attempt import COOKIE as LOGIN_COOKIE
from engarde_pipeline_tests.api.service import SECRET, Service, free_port, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.provider import CLIENT_ID, Provider, running_provider
from engarde_pipeline_tests.web.visitor import SAME_ORIGIN, browser, text_of

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def provider(shop: Shop) -> Iterator[Provider]:
    with running_provider() as running:
        running.claims["tenant_ids"] = [str(shop.tenant)]
        yield running


@pytest.fixture
def service(shop: Shop, instance: DagsterInstance, provider: Provider) -> Iterator[Service]:
    port = free_port()
    values = provider.variables(f"http://127.0.0.1:{port}")
    with serving(settings(shop.world.database_url, **values), instance, port=port) as running:
        yield running


def begin(client: httpx.Client, path: str = "/") -> str:
    """Begin a login, and return the address of the provider."""
    answer = client.get("/login/start", params={"next": path})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def come_back(client: httpx.Client, address: str) -> httpx.Response:
    """Log in at the provider, and come back."""
    sent = httpx.get(address)
    assert sent.status_code == 302, sent.text
    return client.get(sent.headers["location"])


def log_in(client: httpx.Client, path: str = "/") -> httpx.Response:
    return come_back(client, begin(client, path))


def session_in(client: httpx.Client) -> Session | None:
    value = client.cookies.get(COOKIE)
    return read_session(value, SECRET) if value else None


def refused(client: httpx.Client, answer: httpx.Response, status: int, *words: str) -> None:
    """Check that an answer is a page that says what happened, with the way to try again."""
    said = text_of(answer)
    assert answer.status_code == status, said
    assert answer.headers["content-type"].startswith("text/html")
    for word in words:
        assert word in said
    assert 'href="/login/start' in answer.text
    assert "Traceback" not in answer.text
    assert MARKUP not in answer.text
    assert session_in(client) is None
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/").headers["location"].startswith("/login")


# What works


def test_a_person_logs_in_and_sees_the_page_that_they_wanted(service: Service, shop: Shop) -> None:
    wanted = "/?start_date=2026-03-01&end_date=2026-03-02"
    with browser(service) as client:
        sent = client.get(wanted)
        login = client.get(sent.headers["location"])
        (start,) = re.findall(r'href="(/login/start[^"]+)"', login.text)
        answer = client.get(start.replace("&amp;", "&"))
        query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert query["redirect_uri"] == f"{service.url}/login/callback"
        assert {"state", "nonce", "code_challenge"} <= query.keys()
        (cookie,) = answer.headers.get_list("set-cookie")
        assert {"HttpOnly", "SameSite=lax", "Max-Age=600"} <= set(cookie.split("; "))

        back = come_back(client, answer.headers["location"])

        assert (back.status_code, back.headers["location"]) == (303, wanted)
        assert client.get(wanted).status_code == 200
        session = session_in(client)
        assert session is not None
        assert (session.user_id, session.tenant_ids) == ("ada", (shop.tenant,))
        assert LOGIN_COOKIE not in client.cookies
        # Who is logged in goes on.
        assert client.get("/login", params={"next": wanted}).headers["location"] == wanted


def test_a_session_that_has_expired_leads_back_to_its_page_after_the_login(service: Service, shop: Shop) -> None:
    expired = sign({"sub": "ada", "tenants": "", "shown": 0, "exp": int(time.time()) - 1}, SECRET, "session")
    wanted = "/?start_date=2026-03-01"
    with browser(service) as client:
        client.cookies.set(COOKIE, expired)
        sent = client.get(wanted)
        assert sent.status_code == 303
        (path,) = parse_qs(urlsplit(sent.headers["location"]).query)["next"]
        client.cookies.clear()

        assert log_in(client, path).headers["location"] == wanted


def test_a_provider_may_sign_with_another_algorithm(service: Service, provider: Provider) -> None:
    provider.signs_with_ec = True
    with browser(service) as client:
        assert log_in(client).status_code == 303
        assert session_in(client)


def test_a_provider_may_take_a_new_key(service: Service, provider: Provider) -> None:
    with browser(service) as client:
        assert log_in(client).status_code == 303
    provider.key = 1
    with browser(service) as client:
        assert log_in(client).status_code == 303
        assert session_in(client)


def test_metadata_and_keys_are_fetched_once(service: Service, provider: Provider) -> None:
    for _ in range(3):
        with browser(service) as client:
            log_in(client)

    assert provider.requests.count("/.well-known/openid-configuration") == 1
    assert provider.requests.count("/keys") == 1
    assert provider.requests.count("/token") == 3


def test_logins_at_once_do_not_mix(service: Service, provider: Provider) -> None:
    def user(number: int) -> str:
        with browser(service) as client:
            log_in(client)
            session = session_in(client)
            return session.user_id if session else ""

    issued = iter(range(100))
    provider.make_token = lambda claims: provider.sign({**claims, "sub": f"user-{next(issued)}"})
    with ThreadPoolExecutor(8) as threads:
        users = list(threads.map(user, range(24)))

    assert sorted(users) == sorted(f"user-{number}" for number in range(24))


@pytest.mark.parametrize(
    ("claim", "shape"),
    [
        ("tenant_ids", lambda ids: {"tenant_ids": ids}),
        ("tenant", lambda ids: {"tenant": ids[0]}),
        ("app.tenants", lambda ids: {"app": {"tenants": ids}}),
        ("https://example.com/tenants", lambda ids: {"https://example.com/tenants": ids}),
    ],
)
def test_tenants_are_in_the_claim_of_the_settings(
    shop: Shop,
    instance: DagsterInstance,
    provider: Provider,
    claim: str,
    shape: Callable[[list[str]], dict[str, Any]],
) -> None:
    provider.claims = shape([str(shop.tenant)])
    port = free_port()
    values = {**provider.variables(f"http://127.0.0.1:{port}"), "oidc_tenant_claim": claim}
    with (
        serving(settings(shop.world.database_url, **values), instance, port=port) as service,
        browser(service) as client,
    ):
        assert log_in(client).status_code == 303
        session = session_in(client)
        assert session is not None
        assert session.tenant_ids == (shop.tenant,)


def test_tenants_that_do_not_exist_are_ignored_with_a_line_in_the_log(
    service: Service, shop: Shop, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    gone, zebra = uuid4(), shop.world.tenant("Zebra")
    provider.claims["tenant_ids"] = [str(zebra), str(gone), "acme", 7, None, str(shop.tenant), str(zebra)]
    with browser(service) as client:
        assert log_in(client).status_code == 303
        session = session_in(client)

    assert session is not None
    assert session.tenant_ids == (shop.tenant, zebra)  # by name
    assert str(gone) in caplog.text
    assert "'acme'" in caplog.text


def test_an_account_may_have_as_many_tenants_as_a_session(
    service: Service, shop: Shop, provider: Provider
) -> None:
    tenants = [shop.world.tenant(f"T{number}") for number in range(MAX_TENANTS)]
    provider.claims["tenant_ids"] = [str(tenant) for tenant in tenants]
    with browser(service) as client:
        assert log_in(client).status_code == 303
        session = session_in(client)
        assert session is not None
        assert set(session.tenant_ids) == set(tenants)

    provider.claims["tenant_ids"].append(str(shop.tenant))
    with browser(service) as client:
        refused(client, log_in(client), 403, f"has {MAX_TENANTS + 1} tenants", f"{MAX_TENANTS} at most")


def test_logging_out_ends_the_session_here_and_leads_to_the_provider(service: Service, provider: Provider) -> None:
    with browser(service) as client:
        log_in(client)
        answer = client.post("/logout", headers=SAME_ORIGIN)

        assert answer.status_code == 200
        assert session_in(client) is None
        (address,) = set(re.findall(r'(?:url=|href=")(http[^"]+)"', answer.text))
        assert f'content="0; url={address}"' in answer.text
        address = address.replace("&amp;", "&")
        assert address.startswith(f"{provider.url}/end?")
        sent = httpx.get(address)
        assert sent.headers["location"] == f"{service.url}/login"
        assert "Log out" not in text_of(client.get("/login"))


@pytest.mark.parametrize("metadata", [{"end_session_endpoint": None}, {"issuer": "https://somebody.example"}])
def test_logging_out_needs_no_provider(
    service: Service, provider: Provider, shop: Shop, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    with browser(service, shop.tenant) as client:
        answer = client.post("/logout", headers=SAME_ORIGIN)

        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert client.get("/").headers["location"].startswith("/login")


def test_logging_out_does_not_wait_for_a_provider_that_hangs(
    service: Service, provider: Provider, shop: Shop
) -> None:
    path = "/.well-known/openid-configuration"
    provider.hold[path] = threading.Event()
    with ThreadPoolExecutor(1) as threads, browser(service, shop.tenant) as client:
        login = threads.submit(_status_of_login, service)
        while path not in provider.requests:
            time.sleep(0.05)
        answer = client.post("/logout", headers=SAME_ORIGIN)

        assert not login.done()
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert session_in(client) is None
        provider.hold.pop(path).set()
        login.result()


# Where a login leads


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "/ok\r\nSet-Cookie: x=y",
        "@evil.example",
        "",
        "/" + 2000 * "x",
    ],
)
def test_a_login_leads_to_a_page_of_this_server_only(service: Service, shop: Shop, path: str) -> None:
    with browser(service) as client:
        assert log_in(client, path).headers["location"] == "/"
    with browser(service, shop.tenant) as client:
        assert client.get("/login", params={"next": path}).headers["location"] == "/"


# The state: an answer counts for the browser that has begun the login


def test_an_answer_without_a_login_is_refused(service: Service) -> None:
    with browser(service) as client, browser(service) as other:
        address = begin(client)
        answer = come_back(other, address)
        refused(other, answer, 400, "begun in another window or browser")


@pytest.mark.parametrize("state", [None, "", "x", "é"])
def test_an_answer_to_another_login_is_refused(service: Service, provider: Provider, state: str | None) -> None:
    with browser(service) as client:
        query = dict(parse_qsl(urlsplit(begin(client)).query))
        location = provider.authorize({**query, "state": "other"})
        code = dict(parse_qsl(urlsplit(location).query))["code"]
        given = {"code": code, **({} if state is None else {"state": state})}
        answer = client.get(f"/login/callback?{urlencode(given)}")
        refused(client, answer, 400, "begun in another window or browser")

    assert "/token" not in provider.requests


@pytest.mark.parametrize("kind", ["session", "nonsense", "expired", "another form", "another secret"])
def test_the_cookie_of_a_login_is_one_that_we_have_signed_for_it(
    service: Service, provider: Provider, kind: str
) -> None:
    with browser(service) as client:
        query = dict(parse_qsl(urlsplit(begin(client)).query))
        claims = {"state": query["state"], "nonce": query["nonce"], "verifier": 64 * "v", "path": "/"}
        later = int(time.time()) + 300
        values = {
            "session": sign({**claims, "exp": later}, SECRET, "session"),
            "nonsense": "x",
            "expired": sign({**claims, "exp": int(time.time()) - 1}, SECRET, "login"),
            "another form": sign({"state": query["state"], "exp": later}, SECRET, "login"),
            "another secret": sign({**claims, "exp": later}, SECRET + "x", "login"),
        }
        client.cookies.clear()
        client.cookies.set(LOGIN_COOKIE, values[kind])
        answer = client.get(provider.authorize(query))
        refused(client, answer, 400, "begun in another window or browser")


def test_a_login_counts_once(service: Service) -> None:
    with browser(service) as client:
        sent = httpx.get(begin(client)).headers["location"]
        cookies = dict(client.cookies)
        assert client.get(sent).status_code == 303
        client.cookies.clear()
        refused(client, client.get(sent), 400, "Log in again")
        # Whoever has copied the cookie, too: the provider accepts a code once.
        client.cookies.update(cookies)
        refused(client, client.get(sent), 400, "does not accept this login any more")


def test_an_answer_of_another_provider_is_refused(service: Service, provider: Provider) -> None:
    with browser(service) as client:
        sent = httpx.get(begin(client)).headers["location"]
        refused(client, client.get(f"{sent}&iss=https%3A%2F%2Fevil.example"), 400, "another identity provider")
        assert "/token" not in provider.requests
    with browser(service) as client:
        sent = httpx.get(begin(client)).headers["location"]
        assert client.get(f"{sent}&iss={provider.url}").status_code == 303


# A provider that refuses, or misbehaves


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        ("access_denied", 403, "did not let you in"),
        ("temporarily_unavailable", 503, "Try again in a minute"),
        ("server_error", 502, "Try again in a minute"),
        ("invalid_scope", 502, "the log has the reason"),
        (MARKUP, 502, "the log has the reason"),
    ],
)
def test_an_error_of_the_provider_is_explained_and_never_repeated(
    service: Service, provider: Provider, caplog: pytest.LogCaptureFixture, error: str, status: int, says: str
) -> None:
    provider.answers = {"error": error, "error_description": f"{MARKUP} call 0900"}
    with browser(service) as client:
        answer = log_in(client)
        refused(client, answer, status, says)

    assert "0900" not in answer.text
    assert error in caplog.text


@pytest.mark.parametrize(
    ("claims", "status", "says"),
    [
        ({"tenant_ids": None}, 403, "has no claim 'tenant_ids' (OIDC_TENANT_CLAIM)"),
        ({"tenant_ids": []}, 403, "has no claim 'tenant_ids'"),
        ({"tenant_ids": {"id": "x"}}, 403, "has no claim 'tenant_ids'"),
        ({"tenant_ids": 7}, 403, "has no claim 'tenant_ids'"),
        ({"tenant_ids": "acme"}, 403, "no UUID of a tenant"),
        ({"tenant_ids": [MARKUP, None, 7, {}]}, 403, "no UUID of a tenant"),
        ({"tenant_ids": [str(uuid4())]}, 403, "None of the tenants of your account exists here"),
        ({"iss": "https://evil.example"}, 502, "another issuer than OIDC_ISSUER"),
        ({"aud": "another"}, 502, "another audience than OIDC_AUDIENCE"),
        ({"aud": [CLIENT_ID, "another"]}, 502, "another client than OIDC_CLIENT_ID"),
        ({"azp": "another"}, 502, "another client than OIDC_CLIENT_ID"),
        ({"azp": 7}, 502, "another client than OIDC_CLIENT_ID"),
        ({"exp": int(time.time()) - 120}, 502, "has expired"),
        ({"iat": int(time.time()) + 3600}, 502, "not valid yet"),
        ({"exp": None}, 502, "lacks a claim"),
        ({"iss": None}, 502, "lacks a claim"),
        ({"aud": None}, 502, "lacks a claim"),
        ({"sub": None}, 502, "lacks a claim"),
        ({"nonce": None}, 502, "belongs to another login"),
        ({"nonce": "x"}, 502, "belongs to another login"),
        ({"nonce": 7}, 502, "belongs to another login"),
        ({"nonce": "é"}, 502, "belongs to another login"),
        ({"sub": ""}, 502, "its claim sub is not a user id"),
        ({"sub": "a\x1b[2J"}, 502, "its claim sub is not a user id"),
        ({"sub": 300 * "x"}, 502, "its claim sub is not a user id"),
        ({"sub": 7}, 502, "was refused"),
        ({"exp": float("inf")}, 502, "was refused"),
    ],
)
def test_a_token_is_believed_only_if_all_of_it_is_right(
    service: Service, provider: Provider, claims: dict[str, Any], status: int, says: str
) -> None:
    provider.claims |= claims
    with browser(service) as client:
        refused(client, log_in(client), status, says)


def test_a_token_for_several_audiences_names_this_client(service: Service, provider: Provider) -> None:
    provider.claims |= {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    with browser(service) as client:
        assert log_in(client).status_code == 303


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{_part({'alg': 'none', 'kid': 'rsa-0'})}.{_part(claims)}."


def _with_public_key(provider: Provider) -> Callable[[dict[str, Any]], str]:
    """Sign by HS256 with what everybody knows: the provider's public key."""
    key = json.dumps(provider.public_keys()["keys"][0]).encode()

    def sign_with_key(claims: dict[str, Any]) -> str:
        signed = f"{_part({'alg': 'HS256', 'kid': 'rsa-0'})}.{_part(claims)}"
        signature = hmac.digest(key, signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    return sign_with_key


def _tampered(provider: Provider) -> Callable[[dict[str, Any]], str]:
    def sign_another(claims: dict[str, Any]) -> str:
        head, _, signature = provider.sign(claims).split(".")
        return f"{head}.{_part({**claims, 'sub': 'root'})}.{signature}"

    return sign_another


TOKENS: dict[str, Callable[[Provider], Callable[[dict[str, Any]], str]]] = {
    "none": lambda _: _unsigned,
    "HS256 with the public key": _with_public_key,
    "HS256 with the client's secret": lambda _: (
        lambda claims: jwt.encode(claims, "secret of: the client, which is long enough", "HS256", {"kid": "rsa-0"})
    ),
    "HS256 with this server's secret": lambda _: (
        lambda claims: jwt.encode(claims, SECRET, "HS256", {"kid": "rsa-0"})
    ),
    "tampered": _tampered,
    "an unknown key": lambda provider: (
        lambda claims: f"{_part({'alg': 'RS256', 'kid': 'x'})}.{provider.sign(claims).partition('.')[2]}"
    ),
    "no key id": lambda _: lambda claims: jwt.encode(claims, SECRET, "HS256"),
    "nonsense": lambda _: lambda _claims: MARKUP,
    "empty": lambda _: lambda _claims: "",
}


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_that_the_provider_has_not_signed_is_refused(
    service: Service, provider: Provider, make: Callable[[Provider], Callable[[dict[str, Any]], str]]
) -> None:
    provider.make_token = make(provider)
    with browser(service) as client:
        refused(client, log_in(client), 502)


@pytest.mark.parametrize("offered", [["HS256"], ["none"], [], None, "RS256", {"RS256": 1}])
def test_an_algorithm_counts_if_the_provider_names_it_and_it_has_a_public_key(
    service: Service, provider: Provider, offered: object
) -> None:
    provider.metadata["id_token_signing_alg_values_supported"] = offered
    with browser(service) as client:
        if offered is None:  # RS256 is what every provider has
            assert log_in(client).status_code == 303
        else:
            refused(client, client.get("/login/start"), 502, "no algorithm that is accepted")


def test_an_algorithm_that_the_provider_does_not_name_is_refused(service: Service, provider: Provider) -> None:
    provider.metadata["id_token_signing_alg_values_supported"] = ["RS256"]
    provider.signs_with_ec = True
    with browser(service) as client:
        refused(client, log_in(client), 502, "an algorithm that is not accepted")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        ((400, {"error": "invalid_grant", "error_description": MARKUP}), 400),
        ((401, {"error": "invalid_client"}), 502),
        ((400, {"error": MARKUP}), 502),
        ((500, {}), 503),
        ((503, b"<html>"), 503),
        ((200, b"<html>"), 502),
        ((200, []), 502),
        ((200, {}), 502),
        ((200, {"id_token": None}), 502),
        ((200, {"id_token": {"a": 1}}), 502),
        ((200, {"id_token": "x", "expires_in": {}}), 502),
        ((200, b"\xff"), 502),
        ((429, b"slow down"), 503),
    ],
)
def test_an_answer_without_a_token_is_explained(
    service: Service, provider: Provider, response: tuple[int, Any], status: int
) -> None:
    provider.token_response = response
    with browser(service) as client:
        refused(client, log_in(client), status)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": 7},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"end_session_endpoint": "javascript:alert(1)"},
    ],
)
def test_metadata_that_cannot_be_used_is_refused_and_read_again(
    service: Service, provider: Provider, changes: dict[str, Any]
) -> None:
    provider.metadata = changes
    with browser(service) as client:
        refused(client, client.get("/login/start"), 502, "cannot be used")
        provider.metadata = {}
        assert log_in(client).status_code == 303


@pytest.mark.parametrize("keys", [(500, {}), (200, b"<html>"), (200, []), (200, {}), (200, {"keys": []})])
def test_keys_that_cannot_be_read_are_read_again(
    service: Service, provider: Provider, keys: tuple[int, Any]
) -> None:
    provider.keys_response = keys
    with browser(service) as client:
        refused(client, log_in(client), 502)
        provider.keys_response = None
        assert log_in(client).status_code == 303


def test_a_provider_that_is_down_is_named(shop: Shop, instance: DagsterInstance) -> None:
    with running_provider() as provider:
        values = provider.variables("http://127.0.0.1:8000")
    with (
        serving(settings(shop.world.database_url, **values), instance) as service,
        browser(service) as client,
    ):
        answer = client.get("/login/start")
        refused(client, answer, 503, "does not respond. Try again")
        assert answer.headers["retry-after"] == "60"


@pytest.mark.long
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
def test_a_provider_that_hangs_holds_up_only_the_login(
    service: Service, shop: Shop, provider: Provider, path: str
) -> None:
    provider.hold[path] = threading.Event()
    with browser(service) as client, ThreadPoolExecutor(12) as threads:
        logins = [threads.submit(lambda: _status_of_login(service)) for _ in range(12)]
        with browser(service, shop.tenant) as other:
            while path not in provider.requests:
                time.sleep(0.05)
            assert other.get("/").status_code == 200
            assert not any(login.done() for login in logins)
        assert {login.result() for login in logins} <= {502, 503}
        provider.hold.pop(path).set()
        assert log_in(client).status_code == 303


def _status_of_login(service: Service) -> int:
    with browser(service) as client:
        answer = client.get("/login/start")
        return (
            come_back(client, answer.headers["location"]).status_code if answer.is_redirect else answer.status_code
        )


# Without a provider


def test_without_a_provider_nothing_of_it_is_loaded() -> None:
    code = (
        "from fastapi import FastAPI\n"
        "import engarde_pipeline.api.app, engarde_pipeline.web.pages as pages, sys\n"
        "from engarde_pipeline.settings import LoginSettings\n"
        "from engarde_pipeline.web.login_methods import login_methods\n"
        "assert login_methods(LoginSettings(), None).provider is None\n"
        "print(*sys.modules)"
    )
    root = Path(__file__).parents[2]
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)

    loaded = {name.split(".")[0] for name in printed.stdout.split()}
    assert "jwt" in loaded
    assert not loaded & {"authlib", "joserfc", "httpx2"}
