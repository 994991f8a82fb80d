"""Routes that authenticate the caller before they read the body, limit its size, and refuse unknown input."""

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute

from engarde_pipeline.api.bounded_request import BoundedRequest
from engarde_pipeline.api.errors import InvalidField, invalid_fields, unknown_name
from engarde_pipeline.api.tokens import Caller, authenticate
from engarde_pipeline.telemetry.logs import add_to_log_context


class AuthenticatedRoute(APIRoute):
    """A route whose caller is available as `CurrentCaller`."""

    async def authenticate(self, request: Request) -> Caller:
        """Return the caller of a request, which has a bearer token."""
        return await authenticate(request)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which authenticates the caller and checks the request first."""
        handle = super().get_route_handler()
        # For each query parameter, whether it is a list, which may be given several times.
        is_list = {
            field.alias: _is_list(field.field_info.annotation)
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, Query)
        }
        has_body = self.body_field is not None

        async def handle_authenticated(request: Request) -> Response:
            caller = request.state.caller = await self.authenticate(request)
            add_to_log_context(tenant=caller.tenant_id)
            request = BoundedRequest(request.scope, request.receive)
            errors = list(query_errors(request, is_list))
            if has_body:
                errors += _repeated_keys(await request.body())
            if errors:
                raise invalid_fields(errors)
            return await handle(request)

        return handle_authenticated


def _is_list(annotation: Any) -> bool:
    return list in (get_origin(annotation), *map(get_origin, get_args(annotation)))


def query_errors(connection: HTTPConnection, is_list: Mapping[str, bool]) -> Iterator[InvalidField]:
    """Yield the query parameters that are unknown, or given repeatedly although they are no lists."""
    given = Counter(name for name, _ in connection.query_params.multi_items())
    for name, times in given.items():
        if name not in is_list:
            yield InvalidField(field=name, message=unknown_name("query parameter", name, is_list))
        elif times > 1 and not is_list[name]:
            yield InvalidField(field=name, message=f"is given {times} times; give it once")


def _repeated_keys(body: bytes) -> list[InvalidField]:
    repeated: list[str] = []

    def collect(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=collect)
    except (ValueError, RecursionError):
        return []  # not JSON, which FastAPI reports
    return [InvalidField(field=name, message="is given more than once; give it once") for name in repeated]
