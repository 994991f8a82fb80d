"""What all pages have in common: the size of their forms, errors as pages, and the addresses of their files."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import SAME_ORIGIN, browser, text_of


def _in_parts() -> Iterator[bytes]:
    """Yield a form of 2 MiB; httpx sends it without saying how long it is."""
    yield b"q="
    for _ in range(32):
        yield b"x" * 2**16


@pytest.mark.parametrize("path", ["/sync", "/tenant"])
@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        pytest.param({"data": {"campaign_space_ids": ["1"] * 1200}}, 400, "cannot be read", id="many fields"),
        pytest.param({"files": {"file": b"x"}}, 400, "cannot be read", id="a file"),
        pytest.param({"data": {"q": "x" * 2**20}}, 413, "is too large", id="large"),
        pytest.param({"content": _in_parts}, 413, "is too large", id="large, in parts"),
    ],
)
def test_a_form_that_cannot_be_read_gives_a_page(
    service: Service, shop: Shop, path: str, sent: dict[str, Any], status: int, reason: str
) -> None:
    headers = SAME_ORIGIN
    if content := sent.get("content"):
        sent, headers = {"content": content()}, {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    with browser(service, shop.tenant, headers=headers) as client:
        answer = client.post(path, **sent)

        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert f"The form {reason}. Open the page, and try again." in text_of(answer)
        assert "Acme" in text_of(answer)
        assert "no-store" in answer.headers["cache-control"]
        assert client.get("/").status_code == 200  # on the same connection


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/logout", 405)])
def test_an_address_without_a_page_gives_one_to_people(
    service: Service, shop: Shop, method: str, path: str, status: int
) -> None:
    with browser(service, shop.tenant) as client:
        answer = client.request(method, path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        of_program = client.request(method, path)
        of_api = client.get(f"{PREFIX}{path}", headers={"Accept": "text/html"})

    assert (answer.status_code, of_program.status_code, of_api.status_code) == (status, status, 404)
    assert "There is no page at this address." in text_of(answer)
    assert "Content-Security-Policy" in answer.headers
    for other in (of_program, of_api):
        assert other.headers["content-type"] == "application/problem+json"


def test_an_unexpected_error_gives_a_page_to_people(service: Service, shop: Shop) -> None:
    shop.world.connection.execute("ALTER TABLE campaign_metrics RENAME COLUMN metric_date TO renamed")
    with browser(service, shop.tenant) as client:
        answer = client.get("/", headers={"Accept": "text/html", "X-Request-ID": "r1"})

    assert answer.status_code == 500
    assert "An unexpected error occurred" in text_of(answer)
    assert "r1" in text_of(answer)
    assert "renamed" not in answer.text


def test_a_browser_keeps_only_the_file_that_its_address_is_about(service: Service, shop: Shop) -> None:
    with browser(service, shop.tenant) as client:
        addresses = re.findall(r'"(/static/[^"]+)"', client.get("/").text)
        assert len(addresses) > 3
        for address in addresses:
            path, _, _ = address.partition("?")
            assert "immutable" in client.get(address).headers["cache-control"]
            for other in (path, f"{path}?0123456789abcdef"):
                assert client.get(other).headers["cache-control"] == "no-store"
