"""Routes whose responses have an ETag, so that a client that has the current one gets 304 (RFC 9110, 13.1.2)."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.compression import LARGE_BYTES
from engarde_pipeline.api.json_response import JsonResponse

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')

_PARAMETERS = [
    {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "The ETags of responses that the client has, or *. The response is 304 if one is current.",
    }
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"schema": {"type": "string"}, "description": "Of this response."}}},
    304: {"description": "Not modified: an ETag in If-None-Match is current."},
}


class ConditionalRoute(AuthenticatedRoute):
    """A route whose successful responses have an ETag; with a matching If-None-Match the response is 304."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Create the route, with what the OpenAPI document says about conditional requests."""
        options["responses"] = {**_RESPONSES, **options["responses"]}
        super().__init__(path, endpoint, **{**options, "openapi_extra": {"parameters": _PARAMETERS}})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def handle_conditional(request: Request) -> Response:
            response = await handle(request)
            if not isinstance(response, JsonResponse):
                return response
            tag = response.digest  # weak, because a compressed response has the same one
            headers = {
                "ETag": f'W/"{tag}"',
                "Cache-Control": "private, no-cache",
                "Vary": "Accept-Encoding, Authorization",
            }
            if _is_current(tag, request.headers.getlist("if-none-match")):
                return Response(status_code=304, headers=headers)
            if response.text_bytes >= LARGE_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
                compressed = await request.app.state.compressed_bodies.get(tag, response.text)
                response.set_compressed(compressed, "gzip")
            response.headers.update(headers)
            return response

        return handle_conditional


def _is_current(tag: str, if_none_match: list[str]) -> bool:
    conditions = ",".join(if_none_match).strip()
    return conditions == "*" or tag in _ENTITY_TAG.findall(conditions)
