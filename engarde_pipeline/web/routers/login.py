"""GET /login, POST /logout and POST /tenant."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from engarde_pipeline.api.sessions import COOKIE, set_session
from engarde_pipeline.web.page_route import CurrentSession, PageRoute, PublicRoute
from engarde_pipeline.web.rendering import render

router = APIRouter(route_class=PublicRoute)
session_router = APIRouter(route_class=PageRoute)


@router.get("/login")
async def login(request: Request) -> Response:
    """Say how to log in."""
    return render(request, "login.html")


@router.post("/logout")
async def logout() -> Response:
    """End the session."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


@session_router.post("/tenant")
async def switch_tenant(request: Request, session: CurrentSession, tenant_id: Annotated[UUID, Form()]) -> Response:
    """Show another tenant of the session, from its overview."""
    response = RedirectResponse("/", 303)
    set_session(
        response, session.switched_to(tenant_id), request.app.state.secret, is_secure=request.url.scheme == "https"
    )
    return response
