"""Server-sent events: each date as it lands, then the end; resumed where a stream broke; one poller per job."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from uuid import UUID

import httpx
from dagster import DagsterInstance

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.dagster_runs import execute, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
SLICE = {"start": str(DAY), "end": str(NEXT)}


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream; comments are left out."""
    event: dict[str, Any] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line == "" and event:
            yield event
            event = {}
        elif name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)


def listen(api: Service, job_id: str, tenant: UUID, last: str | None = None) -> list[dict[str, Any]]:
    """Return all events of a job's stream, which ends by itself."""
    headers = api.headers(tenant) | ({"Last-Event-ID": last} if last else {})
    with api.client.stream("GET", f"{PREFIX}/sync-jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events(answer))


def test_a_date_is_told_as_it_lands_and_then_the_end(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    job_id = api.sync(shop.tenant, {"start_date": str(DAY), "end_date": str(NEXT)}).json()["sync_job"]["id"]
    running = threading.Timer(0.5, execute, (instance, job_id))
    running.start()

    told = listen(api, job_id, shop.tenant)

    running.join()
    *progress, end = told
    assert [(event["data"]["table"], event["data"]["date"]) for event in progress] == [
        ("campaign_metrics", "2026-03-01"),
        ("campaign_metrics", "2026-03-02"),
        ("campaign_asset_metrics", "2026-03-01"),
        ("campaign_asset_metrics", "2026-03-02"),
    ]
    assert {event["event"] for event in progress} == {"progress"}
    assert progress[0]["data"]["records_inserted"] == 2
    assert (end["event"], end["data"]["sync_job"]["status"]) == ("end", "completed")


def test_a_stream_that_broke_goes_on_behind_the_last_event(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY, NEXT)
    run = run_slice(instance, {**SLICE, "tenant": str(shop.tenant)})
    told = listen(api, run.run_id, shop.tenant)

    assert listen(api, run.run_id, shop.tenant, told[1]["id"]) == told[2:]
    assert listen(api, run.run_id, shop.tenant, "end") == told[-1:]
    assert listen(api, run.run_id, shop.tenant, "nonsense") == told


def test_a_failed_jobs_stream_ends_with_the_reason(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)
    shop.world.execute(f"DELETE FROM {shop.world.dataset}.campaign_metrics WHERE true")
    run = run_slice(instance, {**SLICE, "tenant": str(shop.tenant)})

    end = listen(api, run.run_id, shop.tenant)[-1]

    assert end["data"]["sync_job"]["status"] == "failed"
    assert "BigQuery has 0 records where Postgres has" in end["data"]["sync_job"]["error_message"]


def test_progress_of_all_tenants_is_told_without_counts(
    api: Service, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    run = run_range(instance, DAY, DAY)

    told = listen(api, run.run_id, shop.tenant)

    assert [event["data"].get("date") for event in told] == ["2026-03-01", "2026-03-01", None]
    assert not {name for event in told[:-1] for name in event["data"] if name.startswith("records_")}


def test_subscribers_share_one_poller_which_ends_with_the_last_of_them(api: Service, shop: Shop) -> None:
    job_id = api.sync(shop.tenant, {"start_date": str(DAY), "end_date": str(NEXT)}).json()["sync_job"]["id"]
    url = f"{PREFIX}/sync-jobs/{job_id}/events"
    broker = api.app.state.event_broker
    listening = [api.client.stream("GET", url, headers=api.headers(shop.tenant)) for _ in range(5)]
    for stream in listening:
        stream.__enter__()
    assert len(broker) == 1

    for stream in listening:  # the clients go away in the middle of the stream
        stream.__exit__(None, None, None)

    deadline = time.monotonic() + 10
    while len(broker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(broker) == 0
    assert api.get(f"/sync-jobs/{job_id}", shop.tenant).status_code == 200


def test_the_stream_of_a_run_that_is_deleted_ends(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    job_id = api.sync(shop.tenant, {"start_date": str(DAY), "end_date": str(NEXT)}).json()["sync_job"]["id"]
    deleting = threading.Timer(0.5, instance.delete_run, (job_id,))
    deleting.start()

    assert listen(api, job_id, shop.tenant) == []

    deleting.join()
