"""Nothing that a request says is ignored: what is unknown, given twice or ambiguous is refused, and named."""

import json
import socket
from contextlib import suppress
from datetime import date
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from dagster import DagsterInstance

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)
DATES = {"start_date": str(DAY), "end_date": str(DAY)}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY)
    shop.world.sync(DAY)
    return shop


def _ask(api: Service, tenant: UUID, path: str) -> Any:
    return api.client.get(PREFIX + path, headers=api.headers(tenant))


UNKNOWN = [
    ("/metrics?platfrom=meta", "platfrom", "platform"),
    ("/metrics?Platform=meta", "Platform", "platform"),
    ("/metrics?as_of=", "as_of", "use one of campaign_space_ids"),
    ("/metrics?campaign_space_id=x", "campaign_space_id", "campaign_space_ids"),
    ("/metrics?startdate=2026-03-01", "startdate", "start_date"),
    ("/sync-status?limits=3", "limits", "limit"),
    (f"/metrics/{uuid4()}?group_by=date", "group_by", "use one of end_date, start_date"),
    ("/assets/metrics?campaign_asset_id=x", "campaign_asset_id", "campaign_asset_ids"),
    ("/assets/metrics?orderby=spend", "orderby", "order_by"),
    (f"/assets/{uuid4()}/metrics?platform=meta", "platform", "use one of end_date, start_date"),
    ("/rejected-records?reasons=null_key", "reasons", "reason"),
    (f"/sync-jobs/{uuid4()}?limit=1", "limit", "which has none"),
    (f"/sync-jobs/{uuid4()}/events?last_event_id=1", "last_event_id", "which has none"),
]


def test_an_unknown_parameter_is_refused_and_the_nearest_is_named(api: Service, shop: Shop) -> None:
    for path, field, meant in UNKNOWN:
        answer = _ask(api, shop.tenant, path)

        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["errors"][0]["field"] == field
        assert meant in answer.json()["detail"]


def test_a_post_takes_no_parameters_in_its_address(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    answer = api.client.post(f"{PREFIX}/sync?platform=meta", headers=api.headers(shop.tenant))

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "platform")
    assert instance.get_runs_count() == 0


def test_a_list_given_in_parts_is_joined(api: Service, synced: Shop) -> None:
    for ids in (
        f"campaign_space_ids={synced.first}&campaign_space_ids={synced.second}",
        f"campaign_space_ids={synced.first},{synced.second}",
    ):
        path = f"/metrics?{ids}&group_by=campaign&start_date={DAY}&end_date={DAY}"
        groups = _ask(api, synced.tenant, path).json()["metrics"]
        assert {group["campaign_space_id"] for group in groups} == {str(synced.first), str(synced.second)}


def test_any_other_parameter_is_given_once(api: Service, shop: Shop) -> None:
    for name in ("platform", "group_by", "limit", "start_date", "cursor", "order_by", "order"):
        answer = _ask(api, shop.tenant, f"/metrics?{name}=1&{name}=1")
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": name, "message": "is given 2 times; give it once"}]


VALUES = [
    ("platform=", "platform"),
    ("platform=%00", "platform"),
    ("platform=%20meta", "platform"),
    ("platform=Meta", "platform"),
    ("limit=1.0", "limit"),
    ("limit=%201", "limit"),
    ("limit=1_0", "limit"),
    ("limit=", "limit"),
    ("limit=%2B1", "limit"),
    ("start_date=2026-11-1", "start_date"),
    ("start_date=20261101", "start_date"),
    ("start_date=2026-03-01T00:00:00", "start_date"),
    ("start_date=", "start_date"),
    ("end_date=%202026-03-01", "end_date"),
    ("group_by=", "group_by"),
    ("group_by=DATE", "group_by"),
    ("cursor=", "cursor"),
    ("campaign_space_ids=x&campaign_space_ids=y", "campaign_space_ids"),
]


def test_a_value_is_taken_as_it_is_written_or_not_at_all(api: Service, synced: Shop) -> None:
    for query, field in VALUES:
        answer = _ask(api, synced.tenant, f"/metrics?{query}")

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


BODIES = [
    ('{"allow_shrink": "yes"}', "allow_shrink", "boolean"),
    ('{"allow_shrink": 1}', "allow_shrink", "boolean"),
    ('{"all_tenants": "false"}', "all_tenants", "boolean"),
    ('{"allow_shrnk": true}', "allow_shrnk", "did you mean allow_shrink?"),
    ('{"startDate": "2026-03-01"}', "startDate", "did you mean start_date?"),
    ('{"platform": ["meta"]}', "platform", "string"),
    ('{"platform": 1}', "platform", "string"),
    ('{"campaign_space_ids": "a"}', "campaign_space_ids", "list"),
    ('{"start_date": true}', "start_date", "YYYY-MM-DD"),
    ('{"platform": "meta", "platform": "google"}', "platform", "more than once"),
]


def test_a_body_is_taken_as_it_is_written_or_not_at_all(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    for body, field, says in BODIES:
        headers = {**api.headers(shop.tenant), "Content-Type": "application/json"}

        answer = api.client.post(f"{PREFIX}/sync", content=body, headers=headers)

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
        assert says in answer.json()["detail"]
        assert instance.get_runs_count() == 0


def _get_and_post(api: Service, tenant: UUID, **filters: Any) -> set[int]:
    ids = filters.get("campaign_space_ids")
    listed = {**filters, **({"campaign_space_ids": ",".join(ids)} if ids else {})}
    return {
        api.get("/metrics", tenant, **DATES, **listed).status_code,
        api.get("/metrics", tenant, group_by="campaign", **DATES, **listed).status_code,
        api.sync(tenant, {**DATES, **filters}).status_code,
    }


def test_campaigns_of_others_are_not_found_whether_read_or_synced(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")
    theirs = synced.world.campaign(other, "x1")

    for ids in ([str(theirs)], [str(uuid4())], [str(synced.first), str(theirs)]):
        assert _get_and_post(api, synced.tenant, campaign_space_ids=ids) == {404}


def test_a_platform_without_campaigns_is_refused_whether_read_or_synced(api: Service, synced: Shop) -> None:
    assert _get_and_post(api, synced.tenant, platform="friendster") == {422}


def test_a_platform_that_campaigns_have_left_can_still_be_read(api: Service, synced: Shop) -> None:
    synced.world.connection.execute("UPDATE campaign_spaces SET platform = 'facebook'")

    for platform in ("meta", "facebook"):
        assert api.get("/metrics", synced.tenant, platform=platform, **DATES).status_code == 200


def test_a_tenant_that_does_not_exist_may_do_nothing(api: Service, synced: Shop) -> None:
    nobody = uuid4()

    assert _get_and_post(api, nobody) == {403}
    for path in (
        f"/metrics/{synced.first}",
        "/assets/metrics",
        f"/assets/{synced.asset}/metrics",
        "/rejected-records",
        "/sync-status",
        f"/sync-jobs/{uuid4()}",
        f"/sync-jobs/{uuid4()}/events",
    ):
        assert api.get(path, nobody).status_code == 403, path


def _send(api: Service, *parts: bytes) -> bytes:
    """Send parts of a request, for as long as the service lets us; return its answer."""
    url = urlsplit(api.url)
    answer = b""
    with socket.create_connection((str(url.hostname), url.port or 80), timeout=10) as client:
        with suppress(OSError):
            for part in parts:
                client.sendall(part)
        with suppress(OSError):
            while data := client.recv(65536):
                answer += data
    return answer


def test_headers_of_megabytes_are_refused_before_they_are_read(api: Service) -> None:
    line, host = f"GET {PREFIX}/metrics HTTP/1.1\r\n".encode(), b"Host: x\r\n"
    for start in (line + host + b"X-Large: ", line + host + b"X: 1\r\nAuthorization: Bearer ", line[:5]):
        answer = _send(api, start, *[b"a" * 65536] * 160)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"application/problem+json" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 431


def test_a_request_whose_head_comes_at_once_is_bounded_too(api: Service) -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(80))

    answer = _send(api, b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_an_address_with_a_thousand_campaigns_is_not_too_long(api: Service, shop: Shop) -> None:
    answer = api.get("/metrics", shop.tenant, campaign_space_ids=",".join([str(shop.first)] * 1000))
    assert answer.status_code == 200

    answer = api.get("/metrics", shop.tenant, campaign_space_ids=",".join([str(shop.first)] * 1001))
    assert answer.json()["errors"][0]["field"] == "campaign_space_ids"


def test_many_small_requests_over_one_connection_are_each_counted_alone(api: Service) -> None:
    for _ in range(150):
        assert api.client.get("/health/live", headers={"X": "a" * 1000}).status_code == 200
