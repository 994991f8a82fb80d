"""Errors as problem+json (RFC 9457): what is wrong and what to do, never a stack trace."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from engarde_pipeline.api.examples import PROBLEMS

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "A sync is running",
    413: "Request too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    503: "Temporarily unavailable",
}


_MESSAGES = {
    "json_invalid": "is not valid JSON",
    "model_attributes_type": "is not a JSON object; send one, with Content-Type: application/json",
}


class Problem(Exception):
    """An answer other than success."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


class InvalidField(BaseModel):
    """A field of the request that cannot be used, and why."""

    field: str
    message: str


class ProblemBody(BaseModel):
    """The body of every error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    job_id: str | None = None
    """With 409: the job that is running."""
    errors: list[InvalidField] | None = None
    """With 422: what is wrong with which field."""


def invalid(field: str, message: str) -> Problem:
    """Return a 422 that names the field."""
    return Problem(422, f"{field}: {message}", errors=[{"field": field, "message": message}])


def unavailable(what: str) -> Problem:
    """Return a 503: `what` is slow or does not answer."""
    return Problem(503, f"{what} does not answer in time; try again in a moment.", {"Retry-After": "5"})


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what an endpoint's documentation says of its errors."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {
            "description": _TITLES[status],
            "model": ProblemBody,
            "content": {MEDIA_TYPE: {"schema": schema, "example": PROBLEMS[status]}},
        }
        for status in statuses
    }


def handle_problems(app: FastAPI) -> None:
    """Answer every error of `app` with problem+json."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> JSONResponse:
        return _answer(problem.status, problem.detail, problem.headers, **problem.more)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # so FastAPI answers a body that is no text
            return await _problem(request, invalid("body", "cannot be read; send JSON, encoded in UTF-8"))
        return _answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"field": _field(fault["loc"]), "message": _MESSAGES.get(fault["type"]) or _message(fault["msg"])}
            for fault in error.errors()
        ]
        detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors)
        return _answer(422, detail, errors=errors)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _answer(500, "Something went wrong on our side; it has been logged.")


def _answer(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> JSONResponse:
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse({**body, **more}, status, dict(headers or {}), MEDIA_TYPE)


def _field(location: tuple[int | str, ...]) -> str:
    """Return the field's name as the caller wrote it; the body as a whole is `body`."""
    names = [part for part in location if part not in ("body", "query", "path", "header")]
    if all(isinstance(part, int) for part in names):  # where in the text it is no JSON
        return str(location[0])
    return ".".join(map(str, names))


def _message(text: str) -> str:
    return text.removeprefix("Value error, ")
