"""`engarde page`: a link that logs in to the sample data, or what to do instead."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dagster import DagsterInstance

from engarde_pipeline.settings import services_file
from engarde_pipeline.web.login_links import LoginLinks
from engarde_pipeline_tests.api.service import Service, free_port, serving, settings
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.shop import Shop

OIDC = {
    "OIDC_ISSUER": "https://login.example.com",
    "OIDC_CLIENT_ID": "page",
    "OIDC_CLIENT_SECRET": "secret-of-the-client",
    "API_PUBLIC_URL": "https://metrics.example.com",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def page(shop: Shop, instance: DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The pages of an embedded default, whose servers are those of the tests."""
    with serving(settings(shop.world.database_url), instance, LoginLinks(home)) as service:
        _make_embedded(home, shop, monkeypatch)
        yield service


def _make_embedded(home: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*shop.world.environment, "DAGSTER_DATABASE_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENGARDE_HOME", str(home))
    home.mkdir()
    services_file(home).write_text(json.dumps(shop.world.environment))


def _port(service: Service) -> str:
    return service.url.rpartition(":")[2]


def _link(out: str) -> str:
    (link,) = re.findall(r"^  (http\S+)$", out, re.MULTILINE)
    return str(link)


def _log_in(link: str) -> httpx.Response:
    with httpx.Client(follow_redirects=True, timeout=30) as client:
        return client.get(link)


def test_it_prints_a_link_that_logs_in(engarde: Engarde, page: Service, shop: Shop) -> None:
    shop.world.tenant("Other")

    said = engarde("page", "--port", _port(page), width=40)

    assert said.code == 0
    link = _link(said.out)  # on one line, however narrow the terminal is
    assert link.startswith(f"{page.url}/login/link?token=")
    shown = _log_in(link)
    assert shown.status_code == 200
    assert {"Acme", "Other"} <= set(re.findall(r'<option value="[0-9a-f-]{36}"[^>]*>(.*?)</option>', shown.text))
    assert _log_in(link).status_code == 403
    assert _link(engarde("page", "--port", _port(page)).out) != link


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_link_can_be_to_some_tenants(engarde: Engarde, page: Service, shop: Shop, by: str) -> None:
    other = shop.world.tenant("Other")
    shop.world.tenant("Third")

    tenants = ["Acme", "Other"] if by == "name" else [str(shop.tenant), str(other)]
    said = engarde("page", "--port", _port(page), "--tenant", tenants[0], "--tenant", tenants[1])

    shown = _log_in(_link(said.out))
    assert re.findall(r'<option value="[0-9a-f-]{36}"[^>]*>(.*?)</option>', shown.text) == ["Acme", "Other"]


def test_a_tenant_that_does_not_exist_is_named(engarde: Engarde, page: Service) -> None:
    said = engarde("page", "--port", _port(page), "--tenant", "Acne")

    assert said.code == 1
    assert "There is no tenant Acne. These exist: Acme" in said.words


def test_where_nothing_serves_the_page_it_says_how_to_start_it(
    engarde: Engarde, shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_embedded(home, shop, monkeypatch)
    port = free_port()

    said = engarde("page", "--port", port)

    assert said.code == 1
    assert f"Nothing serves the pages at http://127.0.0.1:{port}. Start them with `engarde dev`" in said.words


def test_where_the_embedded_default_does_not_run_it_says_how_to_start_it(
    engarde: Engarde, shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_embedded(home, shop, monkeypatch)
    services_file(home).unlink()
    (home / "postgres").mkdir()

    said = engarde("page")

    assert said.code == 1
    assert "Start it with `engarde dev`" in said.words


def test_where_nothing_was_started_it_says_how(
    engarde: Engarde, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_HOME", str(home))

    said = engarde("page")

    assert said.code == 1
    assert "There are no pages here yet. Start them with `engarde dev`" in said.words
    assert not home.exists()


def test_where_servers_are_configured_there_are_no_links(engarde: Engarde, shop: Shop) -> None:
    said = engarde("page")

    assert said.code == 1
    for name in OIDC:
        assert name in said.words


@pytest.mark.parametrize("is_embedded", [True, False])
def test_where_people_log_in_with_openid_connect_it_says_where(
    engarde: Engarde, shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch, is_embedded: bool
) -> None:
    if is_embedded:
        _make_embedded(home, shop, monkeypatch)
    for name, value in OIDC.items():
        monkeypatch.setenv(name, value)

    said = engarde("page")

    assert said.code == 1
    assert "with OpenID Connect at https://metrics.example.com" in said.words
