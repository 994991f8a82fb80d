"""Routes of pages: they need a session, refuse forms of other sites, and show errors as pages.

A person can switch to another tenant in another window, which changes the session of all. A page says whose
numbers it shows, by a header of htmx or a field of its forms, so that none of its parts is of another tenant.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from engarde_pipeline.api.bounded_request import BoundedRequest
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.sessions import Session, is_same_origin, session_of
from engarde_pipeline.telemetry.logs import add_to_log_context
from engarde_pipeline.web.rendering import render

_SAFE = ("GET", "HEAD")

_SHOWN_TENANT_HEADER = "x-shown-tenant"

_MAX_FIELDS = 1100
"""The form of a sync can list a thousand campaigns."""


class PublicRoute(APIRoute):
    """A route that needs no session."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Create the route, which the OpenAPI document does not list."""
        super().__init__(path, endpoint, **{**options, "include_in_schema": False})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which shows errors as pages."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                _check_origin(request)
                return await self.checked(request) or await handle(BoundedRequest(request.scope, request.receive))
            except Problem as problem:
                return _error_page(request, problem.status, problem.detail, problem.headers)
            except RequestValidationError as error:
                fields = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
                return _error_page(request, 422, fields)
            except HTTPException as error:  # of what reads the body
                reason = "is too large" if error.status_code == 413 else "cannot be read"
                return _error_page(request, error.status_code, f"The form {reason}. Open the page, and try again.")

        return handle_page

    async def checked(self, request: Request) -> Response | None:  # noqa: ARG002
        """Return the response to a request that may not see the page, or None."""
        return None


class PageRoute(PublicRoute):
    """A route whose session is available as `CurrentSession`; without one, the person is asked to log in."""

    async def checked(self, request: Request) -> Response | None:
        """Return the way to the login if there is no session."""
        session = session_of(request)
        if session is None:
            return _to_login(request)
        request.state.session = session
        add_to_log_context(tenant=session.tenant_id)
        await request.app.state.rate_limit.hit(session.tenant_id)
        if request.headers.get(_SHOWN_TENANT_HEADER, str(session.tenant_id)) != str(session.tenant_id):
            return Response(status_code=409, headers={"HX-Refresh": "true"})
        # For the switcher, on every page.
        request.state.tenants = await request.app.state.tenant_names.shown(session.tenant_ids)
        return None


def router_with_forms(route_class: type[PublicRoute]) -> APIRouter:
    """Return a router whose requests can have forms, with a limited number of fields and without files."""
    return APIRouter(
        route_class=route_class,
        form_limits={"max_files": 0, "max_fields": _MAX_FIELDS},
    )


def check_shown_tenant(session: Session, shown: str) -> None:
    """Check that a form has the tenant of the session, since its effect is on that one.

    Raises:
        Problem: 409, the person has switched to another one.
    """
    if shown != str(session.tenant_id):
        raise Problem(
            409,
            "You have switched to another tenant in another window. Open the page again, and check what it shows.",
        )


def _check_origin(request: Request) -> None:
    if request.method not in _SAFE and not is_same_origin(request):
        raise Problem(403, "This form was not sent by one of these pages. Open the page, and try again.")


def _to_login(request: Request) -> Response:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = "/login?" + urlencode({"next": back if request.method in _SAFE else "/"})
    if "hx-request" in request.headers:  # htmx replaces a part of the page, and the login is a whole one
        return Response(status_code=401, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def _error_page(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return render(request, "error.html", status=status, headers=headers, detail=detail, is_missing=status == 404)


async def _current_session(request: Request) -> Session:
    return cast("Session", request.state.session)


CurrentSession = Annotated[Session, Depends(_current_session)]
"""The session that a `PageRoute` has found."""
