"""Routes that ask who calls before they read what is sent, read a bounded part of it, and ignore none of it."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, get_args, get_origin

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from engarde_pipeline.api.errors import InvalidField, invalid_fields, unknown_name
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
        # Each query parameter's name, and whether it is a list, which may be given in parts.
        parameters = {
            field.alias: _is_list(field.field_info.annotation)
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, Query)
        }
        takes_body = self.body_field is not None

        async def handle_authenticated(request: Request) -> Response:
            request.state.caller = await caller_of(request)
            request = _BoundedRequest(request.scope, request.receive)
            faults = list(_faults_of_query(request, parameters))
            if takes_body:
                faults += _repeated_keys(await request.body())
            if faults:
                raise invalid_fields(faults)
            return await handle(request)

        return handle_authenticated


def _is_list(annotation: Any) -> bool:
    return list in (get_origin(annotation), *map(get_origin, get_args(annotation)))


def _faults_of_query(request: Request, parameters: dict[str, bool]) -> Iterator[InvalidField]:
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        if name not in parameters:
            yield InvalidField(field=name, message=unknown_name("query parameter", name, parameters))
        elif times > 1 and not parameters[name]:
            yield InvalidField(field=name, message=f"is given {times} times; give it once")


def _repeated_keys(body: bytes) -> list[InvalidField]:
    repeated: list[str] = []

    def note(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return []  # not JSON, which is said elsewhere
    return [InvalidField(field=name, message="is given more than once; give it once") for name in repeated]
