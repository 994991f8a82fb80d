"""ETag and If-None-Match, and compression: a client that has the current numbers is not sent them again."""

import gzip
from datetime import date, timedelta

import httpx
import pytest
from dagster import DagsterInstance

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
RANGE = {"start_date": str(DAY), "end_date": str(NEXT)}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY, NEXT)
    shop.world.sync(DAY, NEXT, versions=dict.fromkeys((DAY, NEXT), "v1"))
    return shop


def ask(api: Service, shop: Shop, path: str = "/metrics", *if_none_match: str, **params: str) -> httpx.Response:
    headers = list(api.headers(shop.tenant).items()) + [("If-None-Match", value) for value in if_none_match]
    return api.client.get(PREFIX + path, params={**RANGE, **params}, headers=headers)


def test_what_has_not_changed_is_not_sent_again(api: Service, synced: Shop) -> None:
    for path in (
        "/metrics",
        f"/metrics/{synced.first}",
        "/assets/metrics",
        f"/assets/{synced.asset}/metrics",
    ):
        whole = ask(api, synced, path)
        tag = whole.headers["etag"]
        for condition in ([tag], ["*"], [f'"other", {tag}'], ['"other"', tag], [tag.removeprefix("W/")]):
            unchanged = ask(api, synced, path, *condition)
            assert (unchanged.status_code, unchanged.content) == (304, b""), condition
            for name in ("etag", "cache-control", "vary"):
                assert unchanged.headers[name] == whole.headers[name]
            assert "content-type" not in unchanged.headers
        for condition in (['"other"'], [tag.strip('W/"')], ['W/"*"'], [""]):
            assert ask(api, synced, path, *condition).json() == whole.json(), condition
        assert whole.headers["cache-control"] == "private, no-cache"
        assert {"Authorization", "Accept-Encoding"} == set(whole.headers["vary"].split(", "))


def test_whatever_changes_in_a_response_changes_its_etag(api: Service, synced: Shop) -> None:
    seen = [ask(api, synced).headers["etag"]]
    assert ask(api, synced).headers["etag"] == seen[0]
    assert ask(api, synced, group_by="platform").headers["etag"] not in seen
    for statement in (
        "UPDATE campaign_metrics SET clicks = clicks + 1",
        "UPDATE synced_dates SET compared_at = now()",
        "DELETE FROM synced_dates WHERE metric_date = '2026-03-01'",
    ):
        synced.world.connection.execute(statement.encode())
        answer = ask(api, synced, "/metrics", *seen)
        assert answer.status_code == 200
        seen.append(answer.headers["etag"])
    assert len(set(seen)) == 4


def test_an_error_is_an_error_whatever_the_condition(api: Service, synced: Shop) -> None:
    for answer, status in (
        (ask(api, synced, "/metrics", "*", group_by="x"), 422),
        (ask(api, synced, f"/metrics/{synced.tenant}", "*"), 404),
        (api.client.get(f"{PREFIX}/metrics", headers={"If-None-Match": "*"}), 401),
    ):
        assert answer.status_code == status
        assert "etag" not in answer.headers


def test_large_responses_are_compressed_if_the_client_can_read_them(api: Service, synced: Shop) -> None:
    year = {"start_date": str(NEXT - timedelta(days=3000)), "end_date": str(NEXT + timedelta(days=180))}
    synced.world.connection.execute(
        "INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, bigquery_sync_id,"
        " synced_from_bigquery_at) SELECT tenant_id, id, platform, date '2024-01-01' + n, gen_random_uuid(), now()"
        " FROM campaign_spaces, generate_series(0, 700) n"
    )

    def raw(encoding: str, **params: str) -> tuple[httpx.Headers, bytes]:
        headers = {**api.headers(synced.tenant), "Accept-Encoding": encoding}
        with api.client.stream("GET", f"{PREFIX}/metrics", params=params, headers=headers) as answer:
            return answer.headers, b"".join(answer.iter_raw())

    headers, compressed = raw("gzip, br", **year)
    plain_headers, plain = raw("identity", **year)
    small_headers, _ = raw("gzip", **RANGE)

    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed) == plain
    assert len(compressed) < len(plain) / 5
    assert headers["etag"] == plain_headers["etag"]
    assert "content-encoding" not in {*plain_headers, *small_headers}
    for each in (headers, plain_headers, small_headers):
        assert {"Authorization", "Accept-Encoding"} == set(each["vary"].split(", "))


def test_events_are_never_compressed(api: Service, synced: Shop) -> None:
    job = api.sync(synced.tenant, RANGE).json()["sync_job"]["id"]
    headers = {**api.headers(synced.tenant), "Accept-Encoding": "gzip"}

    with api.client.stream("GET", f"{PREFIX}/sync-jobs/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers


def test_a_web_page_of_another_origin_can_use_etags(synced: Shop, instance: DagsterInstance) -> None:
    origin = {"Origin": "https://app.example.com"}
    allowed = settings(synced.world.database_url, api_cors_origins=origin["Origin"])
    with serving(allowed, instance) as service:
        preflight = service.client.options(
            f"{PREFIX}/metrics",
            headers={
                **origin,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization, if-none-match",
            },
        )
        answer = service.client.get(f"{PREFIX}/metrics", headers={**service.headers(synced.tenant), **origin})
        condition = {"If-None-Match": answer.headers["etag"]}
        unchanged = service.client.get(
            f"{PREFIX}/metrics", headers={**service.headers(synced.tenant), **origin, **condition}
        )

    assert preflight.status_code == 200
    assert (answer.status_code, unchanged.status_code) == (200, 304)
    for each in (answer, unchanged):
        assert each.headers["access-control-expose-headers"] == "ETag, X-Request-ID"
        assert each.headers["access-control-allow-origin"] == origin["Origin"]
        assert "Origin" in each.headers["vary"]
