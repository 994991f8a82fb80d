"""GET /live (server-sent events) and WS /live: which dates of the tenant were changed, as soon as they are."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response, WebSocket, WebSocketDisconnect, status
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from engarde_pipeline.api import examples
from engarde_pipeline.api.authenticated_route import AuthenticatedRoute, query_errors
from engarde_pipeline.api.dependencies import LiveUpdatesDep, check_tenant
from engarde_pipeline.api.errors import invalid, invalid_fields, responses
from engarde_pipeline.api.live_updates import Subscription
from engarde_pipeline.api.schemas import IsoDate
from engarde_pipeline.api.sessions import authenticate_with_session
from engarde_pipeline.api.tokens import Caller, CurrentCaller
from engarde_pipeline.core.dates import today
from engarde_pipeline.postgres.reads.row_versions import DateRange
from engarde_pipeline.telemetry.logs import add_to_log_context

logger = logging.getLogger(__name__)

SUBPROTOCOL = "engarde.live"
"""The WebSocket subprotocol that the server chooses if the client offers it, as a browser with a token must."""

MAX_DAYS = 400
"""How far back `start_date` can be."""

_PING_SECONDS = 15
_SEND_SECONDS = 10
"""A client that does not take an event within this time is disconnected."""

_EXPIRED, _TOO_SLOW = "the token has expired", "the client reads too slowly"


class _LiveRoute(AuthenticatedRoute):
    """A route that pages of this server use, too: instead of a token, it accepts their session."""

    async def authenticate(self, request: Request) -> Caller:
        """Return the caller of a request, which has a bearer token or a session."""
        return await authenticate_with_session(request)


router = APIRouter(tags=["live"], responses=responses(401, 403, 422, 429, 503), route_class=_LiveRoute)

StartDate = Annotated[
    IsoDate | None,
    Query(description=f"The first date, at most {MAX_DAYS} days ago. Default: 29 days before today (UTC)."),
]
EndDate = Annotated[IsoDate | None, Query(description="The last date, included. Default: no end.")]


async def _date_range(start_date: StartDate = None, end_date: EndDate = None) -> DateRange:
    start = start_date or today() - timedelta(days=29)
    if end_date and start > end_date:
        raise invalid("start_date", f"{start} is after end_date, {end_date}")
    if (today() - start).days > MAX_DAYS:
        raise invalid("start_date", f"{start} is more than {MAX_DAYS} days ago")
    return DateRange(start, end_date)


DateRangeDep = Annotated[DateRange, Depends(_date_range)]


class _LiveResponse(StreamingResponse):
    """Server-sent events of a subscription, which begins before the response does."""

    media_type = "text/event-stream"

    def __init__(self, subscribing: AbstractAsyncContextManager[Subscription], expires_at: int) -> None:
        super().__init__((), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._subscribing = subscribing
        self._expires_at = expires_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_SEND_SECONDS):
                await send(message)

        async with self._subscribing as subscription:
            self.body_iterator = _as_text(subscription, self._expires_at)
            try:
                await super().__call__(scope, receive, send_in_time)
            except TimeoutError:
                logger.info("A client of /live was disconnected: %s", _TOO_SLOW)


@router.get(
    "/live",
    response_class=Response,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {"example": examples.LIVE}}}
    },
    dependencies=[Depends(check_tenant)],
)
async def live(caller: CurrentCaller, dates: DateRangeDep, updates: LiveUpdatesDep) -> Response:
    """Changes of the tenant's numbers as server-sent events, as soon as a sync has committed them.

    `changed` has a table and those of its dates whose numbers of this tenant were changed. After `resync`, changes
    may have been missed: read the numbers again. The stream ends when the token or session expires.
    """
    return _LiveResponse(updates.subscribe(caller.tenant_id, dates), caller.expires_at)


async def _socket_caller(socket: WebSocket) -> Caller:
    caller = await authenticate_with_session(socket)
    add_to_log_context(tenant=caller.tenant_id)
    if errors := list(query_errors(socket, dict.fromkeys(("start_date", "end_date"), False))):
        raise invalid_fields(errors)
    await check_tenant(caller, socket.app.state.database)
    return caller


@router.websocket("/live")
async def live_socket(
    socket: WebSocket,
    caller: Annotated[Caller, Depends(_socket_caller)],
    dates: DateRangeDep,
    updates: LiveUpdatesDep,
) -> None:
    """The same events as JSON objects over a WebSocket."""
    async with updates.subscribe(caller.tenant_id, dates) as subscription:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        sending = asyncio.create_task(_send(socket, subscription, caller.expires_at))
        receiving = asyncio.create_task(_receive(socket))
        await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, receiving):
            task.cancel()
        results = await asyncio.gather(sending, receiving, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
            raise result


async def _send(socket: WebSocket, subscription: Subscription, expires_at: int) -> None:
    """Send events until the token expires or the client reads too slowly."""
    reason = _EXPIRED
    try:
        async for events in _until(subscription, expires_at):
            for event in events:
                async with asyncio.timeout(_SEND_SECONDS):
                    await socket.send_json(event)
    except TimeoutError:
        reason = _TOO_SLOW
    await socket.close(status.WS_1008_POLICY_VIOLATION, reason)


async def _receive(socket: WebSocket) -> None:
    """Discard what the client sends, until it disconnects."""
    while True:
        await socket.receive_text()


async def _as_text(subscription: Subscription, expires_at: int) -> AsyncIterator[str]:
    yield ": subscribed\n\n"
    async for events in _until(subscription, expires_at):
        for event in events:
            data = {name: value for name, value in event.items() if name != "event"}
            yield f"event: {event['event']}\ndata: {json.dumps(data)}\n\n"
        if not events:
            yield ": ping\n\n"


async def _until(subscription: Subscription, expires_at: int) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the events of a subscription until `expires_at`, and an empty list if there was none for a while."""
    while (remaining := expires_at - time.time()) > 0:
        try:
            async with asyncio.timeout(min(_PING_SECONDS, remaining)):
                events = await subscription.next()
        except TimeoutError:
            events = []
        yield events
