"""Errors as problem+json (RFC 9457): what is wrong and what to do, never a stack trace."""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
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
    return invalid_fields([InvalidField(field=field, message=message)])


def invalid_fields(faults: Sequence[InvalidField]) -> Problem:
    """Return a 422 that names each of the fields."""
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return Problem(422, detail, errors=[fault.model_dump() for fault in faults])


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return what to say of a field that is not among the known ones: which of them was probably meant."""
    known = sorted(known)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"is no {kind} here; did you mean {near[0]}?"
    return f"is no {kind} here; known are {', '.join(known)}" if known else f"is no {kind} here; there are none"


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
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            InvalidField(field=_field(fault["loc"]), message=_message(request, fault)) for fault in error.errors()
        ]
        return await _problem(request, invalid_fields(faults))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _answer(500, "Something went wrong on our side; it has been logged.")


def body_of(status: int, detail: str) -> dict[str, Any]:
    """Return what every problem says."""
    return {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}


def _answer(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> JSONResponse:
    return JSONResponse({**body_of(status, detail), **more}, status, dict(headers or {}), MEDIA_TYPE)


def _field(location: tuple[int | str, ...]) -> str:
    """Return the field's name as the caller wrote it; the body as a whole is `body`."""
    names = [part for part in location if part not in ("body", "query", "path", "header")]
    if all(isinstance(part, int) for part in names):  # where in the text it is no JSON
        return str(location[0])
    return ".".join(map(str, names))


def _message(request: Request, fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return unknown_name("field", str(fault["loc"][-1]), _fields_of_body(request.scope["route"]))
    return _MESSAGES.get(fault["type"]) or str(fault["msg"]).removeprefix("Value error, ")


def _fields_of_body(route: APIRoute) -> set[str]:
    annotation = route.body_field.field_info.annotation if route.body_field else None
    models = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    return {name for model in models if issubclass(model, BaseModel) for name in model.model_fields}
