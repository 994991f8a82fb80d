"""Error responses as problem+json (RFC 9457)."""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
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
    431: "Headers too large",
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
    """An error response. `extensions` are additional members of its body."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **extensions: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.extensions = extensions


class InvalidField(BaseModel):
    """An invalid field or parameter of the request, and what is wrong with it."""

    field: str
    message: str


class ProblemBody(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    job_id: str | None = None
    """With 409: the id of the unfinished job."""
    errors: list[InvalidField] | None = None
    """With 422: the invalid fields."""


def invalid(field: str, message: str) -> Problem:
    """Return a 422 response for a field."""
    return invalid_fields([InvalidField(field=field, message=message)])


def invalid_fields(fields: Sequence[InvalidField]) -> Problem:
    """Return a 422 response for several fields."""
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return Problem(422, detail, errors=[field.model_dump() for field in fields])


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown field or parameter, with the closest known name."""
    known = sorted(known)
    if close := difflib.get_close_matches(name, known, n=1):
        return f"is not a {kind} of this endpoint; did you mean {close[0]}?"
    if known:
        return f"is not a {kind} of this endpoint; use one of {', '.join(known)}"
    return f"is not a {kind} of this endpoint, which has none"


def unavailable(service: str) -> Problem:
    """Return a 503 response: the service is slow or does not respond."""
    return Problem(503, f"{service} does not respond in time; try again in a few seconds.", {"Retry-After": "5"})


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of an endpoint's error responses."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {
            "description": _TITLES[status],
            "model": ProblemBody,
            "content": {MEDIA_TYPE: {"schema": schema, "example": PROBLEMS[status]}},
        }
        for status in statuses
    }


def add_exception_handlers(app: FastAPI) -> None:
    """Make the application return every error as problem+json."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> JSONResponse:
        return _response(problem.status, problem.detail, problem.headers, **problem.extensions)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's response to a body that is not UTF-8
            return await _problem(request, invalid("body", "cannot be read; send JSON, encoded in UTF-8"))
        return _response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(WebSocketRequestValidationError)
    async def _validation(request: Request, error: ValidationException) -> JSONResponse:
        fields = [
            InvalidField(field=_field(item["loc"]), message=_message(request, item)) for item in error.errors()
        ]
        return await _problem(request, invalid_fields(fields))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _response(500, "An unexpected error occurred; the API has logged it.")


def problem_body(status: int, detail: str) -> dict[str, Any]:
    """Return the members that every problem has."""
    return {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}


def _response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **extensions: object
) -> JSONResponse:
    return JSONResponse({**problem_body(status, detail), **extensions}, status, dict(headers or {}), MEDIA_TYPE)


def _field(location: tuple[int | str, ...]) -> str:
    """Return the name of a field as in the request; `body` is the body as a whole."""
    names = [part for part in location if part not in ("body", "query", "path", "header")]
    if all(isinstance(part, int) for part in names):  # only the position of a JSON syntax error
        return str(location[0])
    return ".".join(map(str, names))


def _message(request: Request, item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return unknown_name("field", str(item["loc"][-1]), _body_fields(request.scope["route"]))
    return _MESSAGES.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")


def _body_fields(route: APIRoute) -> set[str]:
    annotation = route.body_field.field_info.annotation if route.body_field else None
    models = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    return {name for model in models if issubclass(model, BaseModel) for name in model.model_fields}
