"""GET /live and WS /live: a tenant hears of its own changed dates soon after the commit, and of nothing else."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from dagster import DagsterInstance
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket
from websockets.typing import Subprotocol

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.live_updates import MAX_PER_TENANT
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline_tests.api.service import SECRET, Service, serving, settings
from engarde_pipeline_tests.api.test_events import events
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import NUMBERS, Shop

DAY, NEXT = today() - timedelta(days=2), today() - timedelta(days=1)
SECONDS = 20


@pytest.fixture
def live(shop: Shop, instance: DagsterInstance) -> Iterator[Service]:
    """The API alone: live updates need no Dagster."""
    with serving(settings(shop.world.database_url), instance) as service:
        yield service


def socket_of(live: Service, tenant: UUID, query: str = "", **options: Any) -> ClientConnection:
    options.setdefault("additional_headers", live.headers(tenant))
    stream: ClientConnection = connect_socket(f"{live.url.replace('http', 'ws')}{PREFIX}/live{query}", **options)
    return stream


def received(stream: ClientConnection) -> Any:
    return json.loads(stream.recv(SECONDS))


def hears_nothing(stream: ClientConnection) -> bool:
    try:
        stream.recv(1.5)
    except TimeoutError:
        return True
    return False


def changed(*days: date, table: str = "campaign_metrics") -> dict[str, Any]:
    return {"event": "changed", "table": table, "dates": [str(day) for day in days]}


def other_tenant(shop: Shop) -> UUID:
    other = shop.world.tenant("Other")
    shop.world.campaign(other, "o1")
    return other


def load_other(shop: Shop, other: UUID, day: date, **measures: Any) -> None:
    keys = {"tenant_id": str(other), "campaign_id": "o1", "platform": "meta", "metric_date": day}
    shop.world.load([{**keys, **NUMBERS, **measures}])


def test_a_tenant_hears_of_its_changed_dates_and_not_of_those_of_others(live: Service, shop: Shop) -> None:
    other = other_tenant(shop)
    shop.load(DAY)
    with socket_of(live, shop.tenant) as ours, socket_of(live, other) as theirs:
        shop.world.sync(DAY)
        assert received(ours) == changed(DAY)
        assert hears_nothing(theirs)

        load_other(shop, other, DAY)
        shop.world.sync(DAY)
        assert received(theirs) == changed(DAY)
        assert hears_nothing(ours)

        shop.world.sync(DAY)  # nothing changed
        assert hears_nothing(theirs)
        assert hears_nothing(ours)


def test_both_tables_are_told_and_rows_that_are_deleted(live: Service, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    shop.world.sync(DAY, NEXT)
    with socket_of(live, shop.tenant) as stream:
        shop.world.sync(DAY, table=ASSET_METRICS)
        assert received(stream) == changed(DAY, table="campaign_asset_metrics")

        shop.world.execute(f"DELETE FROM {shop.world.dataset}.campaign_metrics WHERE campaign_id = 'c2'")
        shop.world.sync(DAY, NEXT)
        dates: set[str] = set()
        while len(dates) < 2:
            dates |= set(received(stream)["dates"])
        assert dates == {str(DAY), str(NEXT)}


def test_only_dates_of_the_range_are_told(live: Service, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    query = f"?start_date={NEXT}&end_date={NEXT}"
    with socket_of(live, shop.tenant, query) as narrow, socket_of(live, shop.tenant) as wide:
        shop.world.sync(DAY)
        assert received(wide) == changed(DAY)
        shop.world.sync(NEXT)
        assert received(wide) == changed(NEXT)
        assert received(narrow) == changed(NEXT)


def test_what_is_rolled_back_is_not_told(live: Service, shop: Shop) -> None:
    shop.load(DAY)
    with socket_of(live, shop.tenant) as stream:
        shop.world.sync(DAY, dry_run=True)
        assert hears_nothing(stream)


def test_server_sent_events_have_the_same(live: Service, shop: Shop) -> None:
    shop.load(DAY)
    with live.client.stream("GET", f"{PREFIX}/live", headers=live.headers(shop.tenant)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        shop.world.sync(DAY)

        assert next(events(answer)) == {
            "event": "changed",
            "data": {"table": "campaign_metrics", "dates": [str(DAY)]},
        }


def test_after_a_lost_connection_subscribers_are_told_to_read_again(live: Service, shop: Shop) -> None:
    shop.load(DAY)
    with socket_of(live, shop.tenant) as stream:
        lost = shop.world.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'engarde_api live updates'"
        )
        assert len(lost) == 1
        assert received(stream) == {"event": "resync"}

        shop.world.sync(DAY)
        assert received(stream) == changed(DAY)


def test_a_browser_sends_its_token_as_a_subprotocol_which_is_not_repeated(live: Service, shop: Shop) -> None:
    token = live.headers(shop.tenant)["Authorization"].removeprefix("Bearer ")
    offered = [Subprotocol("engarde.live"), Subprotocol(f"bearer.{token}")]
    shop.load(DAY)
    with socket_of(live, shop.tenant, additional_headers={}, subprotocols=offered) as stream:
        assert stream.subprotocol == "engarde.live"
        shop.world.sync(DAY)
        assert received(stream) == changed(DAY)


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {}, 401),
        ("", {"Authorization": "Bearer nonsense"}, 401),
        ("?token={token}", {}, 401),
        ("?token={token}", None, 422),
        ("?start_date=x", None, 422),
        ("?start_date=2026-03-02&end_date=2026-03-01", None, 422),
        ("?start_date=2001-01-01", None, 422),
    ],
)
def test_a_wrong_request_is_refused_before_a_socket_is_open(
    live: Service, shop: Shop, query: str, headers: dict[str, str] | None, code: int
) -> None:
    token = live.headers(shop.tenant)["Authorization"].removeprefix("Bearer ")
    given = live.headers(shop.tenant) if headers is None else headers
    path = query.format(token=token)

    with pytest.raises(InvalidStatus) as refused, socket_of(live, shop.tenant, path, additional_headers=given):
        pass

    answer = refused.value.response
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
    assert live.client.get(f"{PREFIX}/live{path}", headers=given).status_code == code


def test_a_tenant_that_does_not_exist_hears_nothing(live: Service) -> None:
    with pytest.raises(InvalidStatus) as refused, socket_of(live, uuid4()):
        pass

    assert refused.value.response.status_code == 403
    assert live.get("/live", uuid4()).status_code == 403


def test_connections_end_when_the_token_expires(live: Service, shop: Shop) -> None:
    claims = {"tenant_id": str(shop.tenant), "exp": int(time.time()) + 3}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
    with (
        socket_of(live, shop.tenant, additional_headers=headers) as stream,
        live.client.stream("GET", f"{PREFIX}/live", headers=headers) as answer,
    ):
        assert list(events(answer)) == []  # the stream ends
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(SECONDS)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "the token has expired")
    eventually(lambda: len(live.app.state.live_updates) == 0, "nobody is subscribed")


def test_a_tenant_has_a_limited_number_of_subscribers(live: Service, shop: Shop) -> None:
    other = other_tenant(shop)
    with ExitStack() as sockets:
        for _ in range(MAX_PER_TENANT):
            sockets.enter_context(socket_of(live, shop.tenant))
        with pytest.raises(InvalidStatus) as refused, socket_of(live, shop.tenant):
            pass
        with socket_of(live, other):
            pass

    assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (429, "60")
    with socket_of(live, shop.tenant):
        pass


def test_other_notifications_are_ignored(live: Service, shop: Shop) -> None:
    shop.load(DAY)
    with socket_of(live, shop.tenant) as stream:
        for payload in ("", "nonsense", "campaign_metrics", "campaign_metrics 2026-99-99", f"tenants {DAY}"):
            shop.world.connection.execute("SELECT pg_notify('engarde_changes', %s)", [payload])
        shop.world.connection.execute("SELECT pg_notify('engarde_changes', %s)", [f"campaign_metrics {DAY}"])
        assert hears_nothing(stream)

        shop.world.sync(DAY)
        assert received(stream) == changed(DAY)


@pytest.mark.long
def test_a_client_that_does_not_read_is_disconnected_and_the_others_are_not_held_up(
    live: Service, shop: Shop
) -> None:
    last = DAY + timedelta(days=10_000)
    write = """
        WITH written AS (
            UPDATE campaign_metrics SET synced_from_bigquery_at = now() RETURNING metric_date
        )
        SELECT count(pg_notify('engarde_changes', 'campaign_metrics ' || metric_date)) FROM written
    """
    shop.world.connection.execute(
        "INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, bigquery_sync_id,"
        " synced_from_bigquery_at)"
        " SELECT %s, %s, 'meta', day, gen_random_uuid(), now()"
        " FROM generate_series(%s::date, %s, interval '1 day') day",
        [shop.tenant, shop.first, DAY, last],
    )
    host, port = live.url.removeprefix("http://").split(":")
    token = live.headers(shop.tenant)["Authorization"]
    asleep = [socket.create_connection((host, int(port))) for _ in range(2)]
    asleep[0].sendall(f"GET {PREFIX}/live HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
    asleep[1].sendall(
        f"GET {PREFIX}/live HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    updates = live.app.state.live_updates
    with socket_of(live, shop.tenant, max_size=None, max_queue=None) as awake:
        eventually(lambda: len(updates) == 3, "all are subscribed")

        def only_the_reader_is_left() -> bool:
            shop.world.connection.execute(write)
            assert len(received(awake)["dates"]) > 0
            return len(updates) == 1

        eventually(only_the_reader_is_left, "those that do not read are disconnected")
        shop.world.connection.execute(write)
        assert received(awake)["event"] == "changed"
    for each in asleep:
        each.close()
