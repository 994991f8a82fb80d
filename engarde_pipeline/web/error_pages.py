"""Pages for errors outside of a page's route: an address without a page, and what nobody has expected."""

from collections.abc import Awaitable, Callable
from typing import cast

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.web.rendering import render

_Handler = Callable[[Request, Exception], Awaitable[Response]]

_NO_PAGE = "There is no page at this address."
_UNEXPECTED = "An unexpected error occurred. Tell the operators of this page; the log of the API has it as {}."


def add_error_pages(app: FastAPI) -> None:
    """Show these errors as pages to browsers; programs get them as before."""
    for kind in (404, 405, Exception):
        handle = app.exception_handlers[HTTPException if isinstance(kind, int) else kind]
        app.add_exception_handler(kind, _shown_to_people(cast("_Handler", handle)))


def _shown_to_people(handle: _Handler) -> _Handler:
    async def handle_error(request: Request, error: Exception) -> Response:
        response = await handle(request, error)
        is_for_people = "text/html" in request.headers.get("accept", "")
        if not is_for_people or request.url.path.startswith(PREFIX):
            return response
        detail = _NO_PAGE if isinstance(error, HTTPException) else _UNEXPECTED.format(request.state.request_id)
        return render(request, "error.html", status=response.status_code, detail=detail, is_missing=False)

    return handle_error
