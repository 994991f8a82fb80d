"""The OpenAPI document's examples are true: each is asked for, and answered so but for ids."""

import re
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from dagster import DagsterInstance

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

DAYS = date(2026, 3, 1), date(2026, 3, 2)
BOTH = {"start_date": str(DAYS[0]), "end_date": str(DAYS[1])}

JOB, CAMPAIGN = "/sync-jobs/{job_id}", "/metrics/{campaign_space_id}"
ASSET = "/assets/{campaign_asset_id}/metrics"
TIMES = ("first_seen_at", "last_seen_at", "synced_at")


@pytest.fixture
def document(api: Service) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/openapi.json").json()
    return found


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.add_currencies()
    shop.load(*DAYS, engagements=50, currency="EUR")
    versions = dict.fromkeys(DAYS, "v1")
    shop.world.sync(*DAYS, versions=versions)
    shop.world.sync(*DAYS, table=ASSET_METRICS, versions=versions)
    return shop


def shown(document: dict[str, Any], method: str, path: str, status: int) -> object:
    """The example of an answer, without its ids."""
    content = document["paths"][PREFIX + path][method]["responses"][str(status)]["content"]
    media = content["application/json" if status < 300 else "application/problem+json"]
    if "example" in media:
        return without_ids(media["example"])
    name = media["schema"]["$ref"].rpartition("/")[2]
    return without_ids(document["components"]["schemas"][name]["examples"][0])


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        # FastAPI leaves out of its document what is null.
        return {
            name: "a time" if name in TIMES else without_ids(member)
            for name, member in value.items()
            if member is not None
        }
    if isinstance(value, list):
        return [without_ids(member) for member in value]
    return "an id" if isinstance(value, str) and re.fullmatch(r"[0-9a-f-]{36}", value) else value


def answered(answer: httpx.Response, status: int) -> object:
    assert answer.status_code == status, answer.text
    return without_ids(answer.json())


def test_those_of_a_sync(api: Service, synced: Shop, document: dict[str, Any]) -> None:
    tenant = synced.tenant
    request = document["components"]["schemas"]["SyncRequest"]["examples"][0]
    started = api.sync(tenant, request)
    job = started.json()["sync_job"]["id"]

    assert answered(started, 202) == shown(document, "post", "/sync", 202)
    assert answered(api.sync(tenant, request), 409) == shown(document, "post", "/sync", 409)
    assert answered(api.get("/sync-status", tenant), 200) == shown(document, "get", "/sync-status", 200)
    assert answered(api.get(f"/sync-jobs/{job}", tenant), 200) == shown(document, "get", JOB, 200)
    assert answered(api.get(f"/sync-jobs/{uuid4()}", tenant), 404) == shown(document, "get", JOB, 404)


def test_those_of_metrics(api: Service, synced: Shop, document: dict[str, Any]) -> None:
    tenant = synced.tenant
    by_platform = api.get("/metrics", tenant, group_by="platform", **BOTH)
    of_campaign = api.get(f"/metrics/{synced.first}", tenant, **BOTH)

    assert answered(by_platform, 200) == shown(document, "get", "/metrics", 200)
    assert answered(of_campaign, 200) == shown(document, "get", CAMPAIGN, 200)


def test_those_of_creatives(api: Service, synced: Shop, document: dict[str, Any]) -> None:
    by_asset = api.get("/assets/metrics", synced.tenant, group_by="asset", **BOTH)
    of_asset = api.get(f"/assets/{synced.asset}/metrics", synced.tenant, **BOTH)

    assert answered(by_asset, 200) == shown(document, "get", "/assets/metrics", 200)
    assert answered(of_asset, 200) == shown(document, "get", ASSET, 200)


def test_that_of_rejected_records(api: Service, synced: Shop, document: dict[str, Any]) -> None:
    synced.load_unmapped(DAYS[1], currency="EUR")
    synced.world.sync(DAYS[1])

    answer = answered(api.get("/rejected-records", synced.tenant, **BOTH), 200)

    assert answer == shown(document, "get", "/rejected-records", 200)


@pytest.mark.parametrize("path", ["/metrics", "/sync-status"])
def test_those_of_refused_requests(api: Service, shop: Shop, document: dict[str, Any], path: str) -> None:
    nobody: UUID = None  # type: ignore[assignment]

    assert answered(api.client.get(PREFIX + path), 401) == shown(document, "get", path, 401)
    assert answered(api.get(path, nobody), 403) == shown(document, "get", path, 403)
    if path == "/metrics":
        assert answered(api.get(path, shop.tenant, start_date="March"), 422) == shown(document, "get", path, 422)


def test_that_of_a_tenant_that_asks_too_much(
    configured: World, instance: DagsterInstance, document: dict[str, Any], shop: Shop
) -> None:
    with serving(settings(configured.database_url, api_rate_limit="1/minute"), instance) as strict:
        strict.get("/metrics", shop.tenant)
        refused = answered(strict.get("/metrics", shop.tenant), 429)
    said = shown(document, "get", "/metrics", 429)
    assert isinstance(said, dict)
    assert refused == {**said, "detail": said["detail"].replace("30000", "1")}


def test_that_of_a_postgres_that_does_not_answer(api: Service, shop: Shop, document: dict[str, Any]) -> None:
    with shop.world.connection.transaction():
        shop.world.connection.execute("LOCK TABLE platform_days")
        assert answered(api.get("/metrics", shop.tenant), 503) == shown(document, "get", "/metrics", 503)
