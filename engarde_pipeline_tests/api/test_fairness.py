"""One tenant's requests, however many and however slow, do not keep another's from Postgres."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from uuid import UUID

import psycopg
import pytest
from httpx import Response

from engarde_pipeline.postgres.connection import connect
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)
DATES = {"start_date": str(DAY), "end_date": str(DAY)}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY)
    shop.world.sync(DAY)
    return shop


@contextmanager
def _rows_locked(shop: Shop) -> Iterator[psycopg.Connection]:
    """Let every question about campaigns wait, until the end of the block; sums by date are still read."""
    with connect(shop.world.database_url) as other, other.transaction():
        other.execute("LOCK TABLE campaign_metrics")
        yield other


def _waiting(connection: psycopg.Connection, at_least: int) -> int:
    """Return how many of the API's queries wait for a lock, once these are `at_least` so many.

    For so long as the API itself would wait, at most.
    """
    waiting = 0
    for _ in range(35):
        time.sleep(0.1)
        # Within a transaction, the view shows the connections there were when it was first read.
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'engarde_api'"
            " AND datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        assert row is not None
        waiting = int(row[0])
        if waiting >= at_least:
            break
    return waiting


def _by_campaign(api: Service, tenant: UUID, **params: str) -> Response:
    return api.get("/metrics", tenant, group_by="campaign", **DATES, **params)


def test_a_tenant_whose_questions_are_slow_leaves_connections_to_others(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")
    with ThreadPoolExecutor(20) as threads:
        with _rows_locked(synced) as lock:
            slow = [threads.submit(_by_campaign, api, synced.tenant, limit=str(n)) for n in range(1, 21)]
            assert _waiting(lock, at_least=2) == 2
            assert api.get("/metrics", other, **DATES).status_code == 200
            assert api.client.get("/health/ready").status_code == 200
        assert {request.result().status_code for request in slow} == {200}


def test_equal_questions_at_one_time_are_one_query(api: Service, synced: Shop) -> None:
    with ThreadPoolExecutor(12) as threads:
        with _rows_locked(synced) as lock:
            equal = [threads.submit(_by_campaign, api, synced.tenant) for _ in range(12)]
            assert _waiting(lock, at_least=2) == 1
        answers = [request.result().json() for request in equal]

    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]["metrics"]) == 2


def test_an_equal_question_of_another_tenant_gets_its_own_answer(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")
    with ThreadPoolExecutor(2) as threads:
        with _rows_locked(synced) as lock:
            both = [threads.submit(_by_campaign, api, tenant) for tenant in (synced.tenant, other)]
            assert _waiting(lock, at_least=2) == 2
        groups = [len(request.result().json()["metrics"]) for request in both]

    assert groups == [2, 0]


def test_a_question_asked_after_a_change_sees_it_though_an_equal_one_is_under_way(
    api: Service, synced: Shop
) -> None:
    with ThreadPoolExecutor(2) as threads:
        with _rows_locked(synced) as lock:
            early = threads.submit(_by_campaign, api, synced.tenant)
            _waiting(lock, at_least=1)
            lock.execute("UPDATE campaign_metrics SET clicks = 77")
        late = threads.submit(_by_campaign, api, synced.tenant)
        assert {group["clicks"] for group in late.result().json()["metrics"]} == {77}
        assert early.result().status_code == 200
