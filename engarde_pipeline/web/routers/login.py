"""GET /login and what is below it, POST /logout and POST /tenant."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.sessions import COOKIE, new_session, session_of, set_cookie, set_session
from engarde_pipeline.web.login_attempt import LoginAttempt, attempt_of, forget, keep, local_path
from engarde_pipeline.web.login_errors import LoginFailed
from engarde_pipeline.web.login_links import LinkRefused
from engarde_pipeline.web.login_methods import LINK_USER, LoginMethods
from engarde_pipeline.web.page_route import CurrentSession, PageRoute, PublicRoute, router_with_forms
from engarde_pipeline.web.rendering import HEADERS, render

if TYPE_CHECKING:
    from engarde_pipeline.web.id_tokens import Identity
    from engarde_pipeline.web.identity_provider import IdentityProvider

logger = logging.getLogger(__name__)

router = router_with_forms(PublicRoute)
session_router = router_with_forms(PageRoute)

# The address of these responses has a secret, which must not be sent on.
_SECRET_ADDRESS = {**HEADERS, "Referrer-Policy": "no-referrer"}

_PROVIDER_ERRORS = {
    "access_denied": (403, "The identity provider did not let you in: the login was cancelled, or access denied."),
    "temporarily_unavailable": (503, "The identity provider is not available. Try again in a minute."),
    "server_error": (502, "The identity provider has failed. Try again in a minute."),
}
_OTHER_ERROR = (
    502,
    "The identity provider refused the login. Tell the operator of this page; the log has the reason.",
)

Next = Annotated[str, Query(alias="next")]


@router.get("/login")
async def login(request: Request, path: Next = "/") -> Response:
    """Say how to log in, or go on if that is done."""
    if session_of(request):
        return RedirectResponse(local_path(path), 303, headers=HEADERS)
    return _login_page(request, path=local_path(path))


@router.get("/login/link")
async def log_in_by_link(request: Request, token: str = "") -> Response:
    """Log in with a one-time link of the embedded default. The token is in the query, which is not logged."""
    methods = _methods(request)
    if methods.links is None:
        raise Problem(404, "There are no login links here. Log in on the page /login.")
    address = request.client.host if request.client else ""
    try:
        await methods.failed_links.check(address)
        tenant_ids = methods.links.consume(token)
    except LinkRefused as refused:
        await methods.failed_links.hit(address)
        return _login_page(request, LoginFailed(403, f"{refused} Get another one as follows."))
    except Problem as limited:
        said = "Too many links that are not valid have come from your address. Try again in a minute."
        return _login_page(request, LoginFailed(limited.status, said, limited.headers))
    return await _logged_in(request, LINK_USER, tenant_ids, "/")


@router.get("/login/start")
async def start(request: Request, path: Next = "/") -> Response:
    """Send the person to the identity provider."""
    provider = _methods(request).provider
    if provider is None:
        return RedirectResponse("/login", 303, headers=HEADERS)
    attempt = LoginAttempt.begin(path)
    try:
        response = RedirectResponse(await provider.authorization_url(attempt), 303, headers=HEADERS)
    except LoginFailed as failure:
        return _login_page(request, failure, path=attempt.path)
    keep(request, response, attempt)
    return response


class _Answer(BaseModel):
    """What the identity provider adds to the address when it sends a person back."""

    code: str = ""
    state: str = ""
    error: str = ""
    iss: str = ""


@router.get("/login/callback")
async def callback(request: Request, answer: Annotated[_Answer, Query()]) -> Response:
    """Log in the person whom the identity provider has sent back."""
    attempt = attempt_of(request)
    path = attempt.path if attempt else "/"
    try:
        identity = await _identity(_methods(request).provider, attempt, answer)
        response = await _logged_in(request, identity.user_id, identity.tenant_ids, path)
    except LoginFailed as failure:
        response = _login_page(request, failure, path=path)
    forget(request, response)
    return response


async def _identity(
    provider: "IdentityProvider | None", attempt: LoginAttempt | None, answer: _Answer
) -> "Identity":
    """Return who has logged in.

    Raises:
        LoginFailed: the answer is not that to the browser's attempt, or the provider has refused the login.
    """
    if provider is None or attempt is None or not attempt.has_state(answer.state):
        raise LoginFailed(400, "This login was begun in another window or browser, or too long ago. Log in again.")
    if provider.is_other_issuer(answer.iss):
        raise LoginFailed(400, "This answer is from another identity provider. Log in again.")
    if answer.error:
        logger.warning("The identity provider refused a login: %.100r", answer.error)
        raise LoginFailed(*_PROVIDER_ERRORS.get(answer.error, _OTHER_ERROR))
    return await provider.identify(answer.code, attempt)


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session here, and show the way to end it at the identity provider, to which the page goes on."""
    provider = _methods(request).provider
    # Not a redirect: the policy of our pages lets no form lead to another server.
    address = await provider.logout_url() if provider and session_of(request) else None
    response = (
        render(request, "logged_out.html", session=None, address=address)
        if address
        else RedirectResponse("/login", 303)
    )
    set_cookie(request, response, COOKIE, "", 0)
    return response


@session_router.post("/tenant")
async def switch_tenant(request: Request, session: CurrentSession, tenant_id: Annotated[UUID, Form()]) -> Response:
    """Show another tenant of the session, from its overview."""
    response = RedirectResponse("/", 303)
    set_session(request, response, session.switched_to(tenant_id))
    return response


def _methods(request: Request) -> LoginMethods:
    return cast("LoginMethods", request.app.state.login_methods)


async def _logged_in(request: Request, user_id: str, tenant_ids: Sequence[UUID], path: str) -> Response:
    """Begin a session with those tenants that exist, the first by name shown, and go to a page.

    Raises:
        LoginFailed: none of them exists.
    """
    existing = tuple(id_ for id_, _ in await request.app.state.tenant_names.read(tenant_ids))
    if ignored := set(tenant_ids) - set(existing):
        names = ", ".join(sorted(map(str, ignored)))
        logger.warning("Tenants of the login of %r do not exist, and were ignored: %s", user_id, names)
    if not existing:
        raise LoginFailed(
            403,
            "None of the tenants of your account exists here. Ask whoever manages the identity provider to check"
            " them, and log in again.",
        )
    response = RedirectResponse(path, 303, headers=_SECRET_ADDRESS)
    set_session(request, response, new_session(user_id, existing))
    return response


def _login_page(request: Request, failure: Problem | None = None, path: str = "/") -> Response:
    methods = _methods(request)
    return render(
        request,
        "login.html",
        status=failure.status if failure else 200,
        headers={**_SECRET_ADDRESS, **(failure.headers if failure else {})},
        failure=failure.detail if failure else None,
        method="provider" if methods.provider else "link" if methods.links else None,
        start="/login/start?" + urlencode({"next": path}),
    )
