"""The switcher: the tenants of a session by name, one of which is shown."""

import asyncio
import re
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.api.database import Database
from engarde_pipeline.api.sessions import MAX_TENANTS
from engarde_pipeline.web.tenant_names import TenantNames
from engarde_pipeline_tests.api.service import Service, api_database_url
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import SAME_ORIGIN, browser, text_of

HOSTILE = "</option></select><script>alert(1)</script>\"'&{{ 7 * 7 }}"


def options(page: str) -> list[tuple[str, bool]]:
    return [
        (name, bool(selected))
        for selected, name in re.findall(r'<option value="[\w-]+"( selected)?>(.*?)</option>', page)
    ]


def test_tenants_are_listed_by_name_and_switched_without_a_script(service: Service, shop: Shop) -> None:
    zebra, bee = shop.world.tenant("Zebra"), shop.world.tenant("bee")
    with browser(service, shop.tenant, zebra, bee, headers=SAME_ORIGIN) as client:
        page = client.get("/")
        assert options(page.text) == [("Acme", True), ("bee", False), ("Zebra", False)]
        assert page.text.count('action="/tenant"') == page.text.count('action="/logout"') == 1

        answer = client.post("/tenant", data={"tenant_id": str(zebra)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert options(client.get("/").text) == [("Acme", False), ("bee", False), ("Zebra", True)]


def test_one_tenant_is_named_and_cannot_be_switched(service: Service, shop: Shop) -> None:
    shop.world.tenant("Other")
    with browser(service, shop.tenant) as client:
        page = client.get("/")

    assert "Acme" in text_of(page)
    assert "Other" not in page.text
    assert '<select id="tenant"' not in page.text
    assert 'action="/logout"' in page.text


def test_a_page_keeps_the_tenant_that_it_shows_when_another_window_switches(service: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    with browser(service, shop.tenant, other, headers=SAME_ORIGIN) as client:
        page = client.get("/sync")
        shown = {"X-Shown-Tenant": str(shop.tenant)}
        assert f'hx-headers=\'{{"X-Shown-Tenant": "{shop.tenant}"}}\'' in page.text
        assert client.get("/", headers=shown).status_code == 200

        client.post("/tenant", data={"tenant_id": str(other)})
        part = client.get("/", headers=shown)
        form = {"start_date": "2026-03-01", "end_date": "2026-03-01", "action": "start", "key": "k"}
        refused = client.post("/sync", data={**form, "shown_tenant": str(shop.tenant)})

        assert (part.status_code, part.headers["HX-Refresh"], part.text) == (409, "true", "")
        assert refused.status_code == 409
        assert "You have switched to another tenant" in text_of(refused)
        assert client.post("/sync", data=form).status_code == 409


def test_without_postgres_the_switcher_has_ids(shop: Shop) -> None:
    tenants = (shop.tenant, shop.world.tenant("Other"))

    async def shown(url: str) -> list[tuple[UUID, str]]:
        database = Database(url)
        await database.open()
        try:
            return await TenantNames(database).shown(tenants)
        finally:
            await database.close()

    assert asyncio.run(shown("postgresql://nobody@127.0.0.1:1/none")) == [(each, str(each)) for each in tenants]
    assert asyncio.run(shown(api_database_url(shop.world.database_url))) == [
        *zip(tenants, ("Acme", "Other"), strict=True)
    ]


@pytest.mark.parametrize("exists", [True, False])
def test_a_tenant_that_the_session_does_not_have_is_not_shown(service: Service, shop: Shop, exists: bool) -> None:
    other = shop.world.tenant("Other") if exists else uuid4()
    with browser(service, shop.tenant, headers=SAME_ORIGIN) as client:
        answer = client.post("/tenant", data={"tenant_id": str(other)})
        assert answer.status_code == 404
        assert "Other" not in answer.text
        assert "Acme" in text_of(client.get("/"))


@pytest.mark.parametrize("value", ["", "x", "' OR 1=1", "\x00", "<script>alert(1)</script>"])
def test_what_is_no_tenant_is_refused(service: Service, shop: Shop, value: str) -> None:
    with browser(service, shop.tenant, headers=SAME_ORIGIN) as client:
        answer = client.post("/tenant", data={"tenant_id": value})

    assert answer.status_code == 422
    assert "<script>" not in answer.text


def test_the_tenant_is_no_parameter_of_a_page(service: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    with browser(service, shop.tenant, other) as client:
        for name in ("tenant", "tenant_id"):
            page = client.get("/", params={name: str(other)})
            assert options(page.text) in ([("Acme", True), ("Other", False)], [])


def test_a_hostile_name_is_a_name(service: Service, shop: Shop) -> None:
    hostile = shop.world.tenant(HOSTILE)
    for tenants in ((shop.tenant, hostile), (hostile,)):
        with browser(service, *tenants) as client:
            page = client.get("/")
            assert page.status_code == 200
            assert HOSTILE in text_of(page)
            assert "<script>alert" not in page.text


def test_a_session_has_many_tenants_and_some_are_gone(service: Service, shop: Shop) -> None:
    names = [f"T{number:03}" for number in range(MAX_TENANTS - 2)]
    tenants = [shop.world.tenant(name) for name in names]
    gone = shop.world.tenant("Gone")
    shop.world.connection.execute("DELETE FROM tenants WHERE id = %s", [gone])
    with browser(service, shop.tenant, gone, *tenants) as client:
        page = client.get("/")

    assert options(page.text) == [("Acme", True), *((name, False) for name in names)]
