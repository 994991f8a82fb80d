"""What all pages have in common: the size of their forms, errors as pages, and the addresses of their files."""

import re
from collections.abc import Iterator

import pytest
from dagster import DagsterInstance

from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.browsing import SAME_ORIGIN, browser, text_of


@pytest.fixture
def service(shop: Shop, instance: DagsterInstance) -> Iterator[Service]:
    with serving(settings(shop.world.database_url), instance) as running:
        yield running


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param({"data": {"campaign_space_ids": ["1"] * 1200}}, 400, id="many fields"),
        pytest.param({"files": {"file": b"x"}}, 400, id="a file"),
    ],
)
def test_a_form_that_cannot_be_read_gives_a_page(
    service: Service, shop: Shop, sent: dict[str, object], status: int
) -> None:
    with browser(service, shop.tenant, headers=SAME_ORIGIN) as client:
        answer = client.post("/sync", **sent)  # type: ignore[arg-type]

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "cannot be read" in text_of(answer)
    assert "no-store" in answer.headers["cache-control"]


def test_a_form_that_is_too_large_is_not_read(service: Service, shop: Shop) -> None:
    with browser(service, shop.tenant, headers=SAME_ORIGIN) as client:
        assert client.post("/sync", data={"q": "x" * 2**20}).status_code == 413


def test_a_browser_keeps_only_the_file_that_its_address_is_about(service: Service, shop: Shop) -> None:
    with browser(service, shop.tenant) as client:
        addresses = re.findall(r'"(/static/[^"]+)"', client.get("/").text)
        assert len(addresses) > 3
        for address in addresses:
            path, _, _ = address.partition("?")
            assert "immutable" in client.get(address).headers["cache-control"]
            for other in (path, f"{path}?0123456789abcdef"):
                assert client.get(other).headers["cache-control"] == "no-store"
