"""Routes that ask who calls before they read what is sent, and then read a bounded part of it."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from engarde_pipeline.api.tokens import caller_of

_LARGEST_BODY = 2**20
"""Bytes; a thousand campaigns fit in a tenth of it."""


class _BoundedRequest(Request):
    async def stream(self) -> AsyncGenerator[bytes, None]:
        read = 0
        async for chunk in super().stream():
            read += len(chunk)
            if read > _LARGEST_BODY:
                raise HTTPException(413, f"The body has more than {_LARGEST_BODY} bytes.")
            yield chunk


class AuthenticatedRoute(APIRoute):
    """A route of which `Authenticated` says who calls."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def handle_authenticated(request: Request) -> Response:
            request.state.caller = await caller_of(request)
            return await handle(_BoundedRequest(request.scope, request.receive))

        return handle_authenticated
