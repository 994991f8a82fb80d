"""POST /sync and the job endpoints: a real run is queued, once, and only the tenant's own jobs are seen."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.run_coordinator import QueuedRunCoordinator
from httpx import Response

from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.dagster_internals import HIDDEN_TAG_PREFIX
from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.tags import TENANT
from engarde_pipeline_tests.api.service import Service, free_port, serving, settings
from engarde_pipeline_tests.dagster_runs import execute, run_range, run_slice
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": str(DAY), "end_date": str(NEXT)}


def test_a_tenants_sync_is_queued_at_once_and_says_who_asked(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    answer = api.sync(shop.tenant, DATES)

    assert answer.status_code == 202
    body = answer.json()
    assert body["success"] is True
    assert body["message"] == "The sync of 2026-03-01 to 2026-03-02 is pending."
    job = body["sync_job"]
    assert (job["status"], job["job_type"], job["triggered_by"]) == ("pending", "full_sync", "api")
    assert (job["start_date"], job["end_date"], job["triggered_by_user_id"]) == (str(DAY), str(NEXT), "u1")
    run = instance.get_run_by_id(job["id"])
    assert run is not None
    assert (run.job_name, run.status) == ("slice_sync", DagsterRunStatus.QUEUED)
    assert run.tags["engarde/tenant"] == str(shop.tenant)


def test_a_queued_sync_runs_and_syncs_the_tenants_slice_only(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    other = shop.world.tenant("Other")
    shop.world.campaign(other, "c9")
    shop.load(DAY)
    shop.world.load([{"tenant_id": str(other), "campaign_id": "c9", "platform": "meta", "metric_date": DAY}])
    job_id = api.sync(shop.tenant, DATES).json()["sync_job"]["id"]

    execute(instance, job_id)

    job = api.get(f"/sync-jobs/{job_id}", shop.tenant).json()["sync_job"]
    assert (job["status"], job["records_processed"], job["records_inserted"]) == ("completed", 3, 3)
    assert {row["tenant_id"] for row in shop.world.rows()} == {shop.tenant}


def test_without_dates_it_goes_on_from_the_last_sync(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    last = today() - timedelta(days=3)
    shop.load(last)
    run_range(instance, last, last)

    job = api.sync(shop.tenant).json()["sync_job"]

    assert (job["start_date"], job["end_date"]) == (str(last), str(latest_date()))
    assert job["job_type"] == "incremental_sync"


def test_a_date_that_had_not_begun_everywhere_is_no_reason_to_leave_out_todays(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(today())
    run_range(instance, today(), latest_date())

    job = api.sync(shop.tenant).json()["sync_job"]

    assert (job["start_date"], job["end_date"]) == (str(today()), str(latest_date()))


def test_without_dates_a_first_sync_takes_thirty_days(api: Service, shop: Shop) -> None:
    job = api.sync(shop.tenant, {}).json()["sync_job"]

    assert (job["start_date"], job["end_date"]) == (str(today() - timedelta(days=29)), str(latest_date()))


def test_a_second_sync_over_the_same_dates_is_refused_with_the_running_jobs_id(api: Service, shop: Shop) -> None:
    first = api.sync(shop.tenant, DATES).json()["sync_job"]["id"]

    second = api.sync(shop.tenant, {"start_date": str(NEXT), "end_date": str(NEXT)})

    assert (second.status_code, second.json()["job_id"]) == (409, first)


def test_syncs_over_other_dates_or_of_other_tenants_run_side_by_side(api: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    after = NEXT + timedelta(days=1)

    answers = [
        api.sync(shop.tenant, DATES),
        api.sync(shop.tenant, {"start_date": str(after), "end_date": str(after)}),
        api.sync(other, DATES),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 202]


def test_a_tenant_has_ten_unfinished_syncs_at_most_and_others_start_theirs(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    other = shop.world.tenant("Other")

    def post(tenant: UUID, day: int) -> Response:
        one = str(DAY + timedelta(days=day))
        return api.sync(tenant, {"start_date": one, "end_date": one})

    answers = [post(shop.tenant, day) for day in range(11)]

    assert [answer.status_code for answer in answers] == 10 * [202] + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    theirs = post(other, 0)
    assert theirs.status_code == 202
    tags = [run.tags for run in instance.get_runs()]
    assert tags[0]["engarde/tenant"] == str(other)
    # Dagster starts the one of the highest priority first.
    assert [int(run["dagster/priority"]) for run in tags] == [0, *range(-9, 1)]
    execute(instance, answers[0].json()["sync_job"]["id"])
    assert post(shop.tenant, 20).status_code == 202


def test_the_queue_runs_two_syncs_of_a_tenant_at_a_time(instance: DagsterInstance) -> None:
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    limits = coordinator.get_run_queue_config().tag_concurrency_limits

    assert limits == [{"key": TENANT, "value": {"applyLimitPerUniqueValue": True}, "limit": 2}]


def test_two_posts_at_the_same_moment_give_one_run(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    at_once = threading.Barrier(6)

    def post(_: int) -> int:
        at_once.wait()
        return api.sync(shop.tenant, DATES).status_code

    with ThreadPoolExecutor(6) as threads:
        codes = sorted(threads.map(post, range(6)))

    assert codes == [202, 409, 409, 409, 409, 409]
    assert instance.get_runs_count() == 1


def test_posts_with_one_idempotency_key_give_one_run_and_the_same_answer(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: api.sync(shop.tenant, DATES, key="k1"), range(4)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["sync_job"]["id"] for answer in answers}) == 1
    assert instance.get_runs_count() == 1


def test_the_digests_of_an_idempotency_key_are_tags_that_the_ui_does_not_show(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    api.sync(shop.tenant, DATES, key="k1")

    (run,) = instance.get_runs()
    digests = [name for name, value in run.tags.items() if re.fullmatch("[0-9a-f]{64}", value)]
    assert len(digests) == 2
    assert all(name.startswith(HIDDEN_TAG_PREFIX) for name in digests)


def test_an_idempotency_key_of_the_version_before_is_found(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    api.sync(shop.tenant, DATES, key="k1")
    (run,) = instance.get_runs()
    tags = {name.replace(f"{HIDDEN_TAG_PREFIX}engarde_", "engarde/"): text for name, text in run.tags.items()}
    instance.delete_run(run.run_id)
    job = defs.resolve_job_def(run.job_name)
    before = instance.create_run_for_job(job, run_config=run.run_config, tags=tags)

    answer = api.sync(shop.tenant, DATES, key="k1")

    assert (answer.status_code, answer.json()["sync_job"]["id"]) == (202, before.run_id)
    other = api.sync(shop.tenant, {**DATES, "platform": "meta"}, key="k1")
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_an_idempotency_key_is_not_good_for_another_request(api: Service, shop: Shop) -> None:
    api.sync(shop.tenant, DATES, key="k1")

    answer = api.sync(shop.tenant, {**DATES, "platform": "meta"}, key="k1")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_an_idempotency_key_is_the_tenants_own(api: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    first = api.sync(shop.tenant, DATES, key="k1").json()["sync_job"]["id"]

    assert api.sync(other, DATES, key="k1").json()["sync_job"]["id"] != first


def test_all_tenants_are_synced_only_with_the_scope_for_it(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    asked = {**DATES, "all_tenants": True}

    assert api.sync(shop.tenant, asked).status_code == 403
    answer = api.sync(shop.tenant, asked, scopes="sync:all")

    assert answer.status_code == 202
    run = instance.get_run_by_id(answer.json()["sync_job"]["id"])
    assert run is not None
    assert run.job_name == "performance_sync"


def test_a_queued_sync_of_all_tenants_runs_and_marks_its_dates(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY, NEXT)
    job_id = api.sync(shop.tenant, {**DATES, "all_tenants": True}, scopes="sync:all").json()["sync_job"]["id"]

    execute(instance, job_id)

    job = api.get(f"/sync-jobs/{job_id}", shop.tenant, "sync:all").json()["sync_job"]
    assert (job["status"], job["records_inserted"]) == ("completed", 6)
    assert len(shop.world.rows()) == 4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date"),
        ({"end_date": "2999-01-01"}, "end_date"),
        ({"start_date": "1999-01-01"}, "start_date"),
        ({"start_date": 20260301}, "start_date"),
        ({"start_date": "March"}, "start_date"),
        ({"campaign_space_ids": ["c1"]}, "campaign_space_ids.0"),
        ({"platform": "friendster"}, "platform"),
        ({"platform": "a\x00"}, "platform"),
        ({"tenant_id": "x"}, "tenant_id"),
        ([], "body"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field_and_starts_nothing(
    api: Service, instance: DagsterInstance, shop: Shop, body: Any, field: str
) -> None:
    answer = api.sync(shop.tenant, body)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert instance.get_runs_count() == 0


def test_another_tenants_campaign_cannot_be_synced(api: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")

    assert api.sync(other, {**DATES, "campaign_space_ids": [str(shop.first)]}).status_code == 404


def test_a_tenant_that_does_not_exist_cannot_sync(api: Service, shop: Shop) -> None:
    assert api.sync(uuid4(), DATES).status_code == 403


def test_the_status_shows_the_tenants_jobs(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    other = shop.world.tenant("Other")
    good = run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": str(shop.tenant)})
    run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": str(other)})
    queued = api.sync(shop.tenant, DATES).json()["sync_job"]["id"]

    status = api.get("/sync-status", shop.tenant).json()

    assert status["success"] is True
    assert (status["last_sync"]["id"], status["is_syncing"], status["total_jobs"]) == (good.run_id, True, 2)
    assert [job["id"] for job in status["recent_jobs"]] == [queued, good.run_id]


def test_the_status_of_a_tenant_without_jobs_is_empty(api: Service, shop: Shop) -> None:
    assert api.get("/sync-status", shop.tenant).json() == {
        "success": True,
        "last_sync": None,
        "is_syncing": False,
        "recent_jobs": [],
        "total_jobs": 0,
        "next_cursor": None,
    }


@pytest.mark.parametrize("limit", [0, 51, "x"])
def test_the_status_shows_one_to_fifty_jobs(api: Service, shop: Shop, limit: object) -> None:
    answer = api.get("/sync-status", shop.tenant, limit=limit)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")


def test_a_sync_of_all_tenants_is_seen_without_the_counts_that_speak_of_others(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    run = run_range(instance, DAY, DAY)

    plain = api.get(f"/sync-jobs/{run.run_id}", shop.tenant).json()["sync_job"]
    full = api.get(f"/sync-jobs/{run.run_id}", shop.tenant, "sync:all").json()["sync_job"]

    assert (plain["status"], plain["records_processed"]) == ("completed", None)
    assert full["records_processed"] == 3


def test_another_tenants_job_is_not_found(api: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    job_id = api.sync(shop.tenant, DATES).json()["sync_job"]["id"]

    assert api.get(f"/sync-jobs/{job_id}", other).status_code == 404
    assert api.get(f"/sync-jobs/{job_id}/events", other).status_code == 404
    assert api.get("/sync-status", other, cursor=job_id).status_code == 422


def test_without_a_daemon_nothing_is_queued_and_the_answer_says_so(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    instance.wipe_daemon_heartbeats()

    answer = api.sync(shop.tenant, DATES)

    assert answer.status_code == 503
    assert "daemon" in answer.json()["detail"]
    assert instance.get_runs(RunsFilter()) == []


@pytest.mark.long
def test_a_start_that_took_too_long_is_found_by_the_same_request(
    api: Service, instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats, slow = DagsterInstance.get_daemon_heartbeats, threading.Event()

    def stalled(self: DagsterInstance) -> Any:
        if not slow.is_set():
            slow.set()
            time.sleep(7)
        return heartbeats(self)

    monkeypatch.setattr(DagsterInstance, "get_daemon_heartbeats", stalled)

    first = api.sync(shop.tenant, DATES, key="k")
    again = api.sync(shop.tenant, DATES, key="k")

    assert (first.status_code, "longer than usual" in first.json()["detail"]) == (503, True)
    assert again.status_code == 202
    assert [run.run_id for run in instance.get_runs()] == [again.json()["sync_job"]["id"]]


def test_without_a_webserver_nothing_is_queued_and_the_next_request_with_one_starts_the_sync(
    api: Service, configured: World, instance: DagsterInstance, shop: Shop
) -> None:
    alone = settings(configured.database_url, engarde_webserver_url=f"http://127.0.0.1:{free_port()}")
    with serving(alone, instance) as without:
        answer = without.sync(shop.tenant, DATES, key="k")

    assert (answer.status_code, "webserver" in answer.json()["detail"]) == (503, True)
    assert int(answer.headers["retry-after"]) > 0
    assert instance.get_runs() == []
    assert api.sync(shop.tenant, DATES, key="k").status_code == 202


@pytest.mark.long
def test_without_dates_a_sync_of_some_campaigns_is_not_taken_for_the_last_one(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    last = today() - timedelta(days=9)
    shop.load(last)
    run_range(instance, last, last)
    slice_of_one = {"start": str(today()), "end": str(today()), "tenant": str(shop.tenant)}
    run_slice(instance, {**slice_of_one, "campaigns": [str(shop.first)]})
    run_slice(instance, {**slice_of_one, "platforms": ["meta"]})

    assert api.sync(shop.tenant).json()["sync_job"]["start_date"] == str(last)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"end_date": "0001-01-01"}, "start_date"),
        ({"start_date": "9999-01-01"}, "start_date"),
        ({"start_date": str(NEXT), "end_date": str(DAY)}, "end_date"),
    ],
)
def test_dates_that_cannot_be_synced_name_the_field_that_was_sent(
    api: Service, shop: Shop, body: dict[str, str], field: str
) -> None:
    answer = api.sync(shop.tenant, body)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_campaigns_on_another_platform_than_the_one_asked_for_are_named(api: Service, shop: Shop) -> None:
    elsewhere = shop.world.campaign(shop.tenant, "t1", "tiktok")

    answer = api.sync(shop.tenant, {**DATES, "platform": "meta", "campaign_space_ids": [str(elsewhere)]})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "campaign_space_ids")
    assert str(elsewhere) in answer.json()["detail"]


def test_the_order_of_campaigns_does_not_make_another_request(api: Service, shop: Shop) -> None:
    ids = [str(shop.first), str(shop.second)]

    one = api.sync(shop.tenant, {**DATES, "campaign_space_ids": ids}, key="k")
    same = api.sync(shop.tenant, {**DATES, "campaign_space_ids": ids[::-1] * 2}, key="k")

    assert one.status_code == same.status_code == 202
    assert one.json()["sync_job"]["id"] == same.json()["sync_job"]["id"]


@pytest.mark.parametrize("scopes", ["", pytest.param("sync:all", marks=pytest.mark.long)])
def test_a_date_loses_most_of_its_rows_only_where_the_caller_says_so(
    api: Service, instance: DagsterInstance, shop: Shop, scopes: str
) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)
    shop.world.replace(DAY, [])
    body = {"start_date": str(DAY), "end_date": str(DAY), "all_tenants": bool(scopes)}

    for allowed in (False, True):
        asked = {**body, "allow_shrink": allowed}
        job_id = api.sync(shop.tenant, asked, scopes).json()["sync_job"]["id"]
        # Otherwise Dagster would try the first one again.
        execute(instance, job_id)
        assert (shop.world.rows() == []) is allowed
