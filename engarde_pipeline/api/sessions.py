"""Sessions of people in a browser: a signed cookie that says who they are and which tenants they may see.

A session is not a bearer token, and no bearer token is a session: they are signed with different keys. A browser
sends its cookies with requests that other sites cause, too: a session counts only for requests of its own pages.
"""

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import jwt
from fastapi.requests import HTTPConnection
from starlette.responses import Response

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.tokens import ALGORITHM, Caller, authenticate, has_token
from engarde_pipeline.settings import ApiSettings

COOKIE = "engarde_session"

LIFETIME = timedelta(hours=12)

MAX_TENANTS = 100
"""The ids of so many tenants fit into a cookie: a browser stores at most 4,096 bytes of its name and value."""

MAX_USER_ID = 255
"""Characters of ASCII; the longest subject of OpenID Connect."""

_UUID_BYTES = 16


@dataclass(frozen=True)
class Session:
    """A person, the tenants that the login has given them, and the one of these that is shown."""

    user_id: str
    tenant_id: UUID
    tenant_ids: tuple[UUID, ...]
    expires_at: int
    """Seconds since 1970."""

    @property
    def caller(self) -> Caller:
        """The session as the caller of a request, without further permissions."""
        return Caller(self.tenant_id, self.user_id, frozenset(), self.expires_at)

    def switched_to(self, tenant_id: UUID) -> "Session":
        """Return the session with another of its tenants.

        Raises:
            Problem: 404, the session does not have this tenant.
        """
        if tenant_id not in self.tenant_ids:
            raise Problem(404, "This tenant does not exist, or you may not see it.")
        return replace(self, tenant_id=tenant_id)


def new_session(user_id: str, tenant_ids: tuple[UUID, ...], lifetime: timedelta = LIFETIME) -> Session:
    """Return a session that begins now, with its first tenant."""
    return Session(user_id, tenant_ids[0], tenant_ids, int(time.time() + lifetime.total_seconds()))


def signed(session: Session, secret: str) -> str:
    """Return the value of the cookie."""
    claims = {
        "sub": session.user_id,
        "tenants": urlsafe_b64encode(b"".join(each.bytes for each in session.tenant_ids)).decode(),
        "shown": session.tenant_ids.index(session.tenant_id),
        "exp": session.expires_at,
    }
    return sign(claims, secret, "session")


def read_session(value: str, secret: str) -> Session | None:
    """Return the session of a cookie, or None if it has expired or is not one that this version has signed."""
    claims = verified(value, secret, "session")
    if claims is None:
        return None
    try:
        ids = urlsafe_b64decode(claims["tenants"])
        tenant_ids = tuple(
            UUID(bytes=ids[start : start + _UUID_BYTES]) for start in range(0, len(ids), _UUID_BYTES)
        )
        return Session(claims["sub"], tenant_ids[claims["shown"]], tenant_ids, int(claims["exp"]))
    except (KeyError, IndexError, TypeError, ValueError):  # the claims of another version
        return None


def sign(claims: Mapping[str, Any], secret: str, purpose: str) -> str:
    """Return a signed value that `verified` accepts for the same purpose only."""
    return jwt.encode(dict(claims), session_key(secret, purpose), ALGORITHM)


def verified(value: str, secret: str, purpose: str) -> dict[str, Any] | None:
    """Return the claims of a signed value, or None if it has expired or was not signed for this purpose."""
    try:
        claims: dict[str, Any] = jwt.decode(
            value, session_key(secret, purpose), [ALGORITHM], options={"require": ["exp"]}
        )
    except (jwt.InvalidTokenError, OverflowError):
        return None
    return claims


def session_key(secret: str, purpose: str) -> bytes:
    """Return a key for one purpose, with which nothing can be signed that counts for another."""
    return hmac.digest(secret.encode(), f"engarde {purpose}".encode(), sha256)


def session_of(connection: HTTPConnection) -> Session | None:
    """Return the valid session of a connection, or None."""
    value = connection.cookies.get(cookie_name(connection, COOKIE))
    return read_session(value, connection.app.state.secret) if value else None


async def authenticate_with_session(connection: HTTPConnection) -> Caller:
    """Return the caller of a request that has a token or, if one of our pages has sent it, a session.

    Raises:
        Problem: 401, 403 or 429.
    """
    if has_token(connection) or cookie_name(connection, COOKIE) not in connection.cookies:
        return await authenticate(connection)
    if not is_same_origin(connection):
        raise Problem(403, "A session is accepted only from pages of this server; send a bearer token instead.")
    session = session_of(connection)
    if session is None:
        raise Problem(401, "The session has expired; log in again.", {"WWW-Authenticate": "Bearer"})
    await connection.app.state.rate_limit.hit(session.tenant_id)
    return session.caller


def set_session(connection: HTTPConnection, response: Response, session: Session) -> None:
    """Set the session's cookie in a response."""
    seconds = max(0, session.expires_at - int(time.time()))
    set_cookie(connection, response, COOKIE, signed(session, connection.app.state.secret), seconds)


def set_cookie(connection: HTTPConnection, response: Response, name: str, value: str, seconds: int) -> None:
    """Set a cookie that no script can read and that other sites' forms do not send; with 0 seconds, delete it."""
    response.set_cookie(
        cookie_name(connection, name),
        value,
        max_age=seconds,
        path="/",
        secure=is_secure(connection),
        httponly=True,
        samesite="lax",
    )


def cookie_name(connection: HTTPConnection, name: str) -> str:
    """Return the name of a cookie; with HTTPS, one that a browser accepts from this host only, not from others
    of its domain."""
    return f"__Host-{name}" if is_secure(connection) else name


def is_secure(connection: HTTPConnection) -> bool:
    """Return whether browsers reach this server by HTTPS."""
    if public_url := _public_url(connection):
        return public_url.startswith("https:")
    return connection.scope["scheme"] in ("https", "wss")


def is_same_origin(connection: HTTPConnection) -> bool:
    """Return whether a page of this server has caused a request, by Sec-Fetch-Site, or else by Origin or Referer.

    A browser sends one of them with what our pages do, and no page can change them. Behind a proxy, the address of
    this server is API_PUBLIC_URL.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    scheme = "https" if is_secure(connection) else "http"
    own = _public_url(connection) or f"{scheme}://{connection.headers.get('host')}"
    origin = connection.headers.get("origin")
    if origin is None and connection.scope.get("method") == "GET":
        # With plain HTTP, a stream of events has neither.
        parts = urlsplit(connection.headers.get("referer", ""))
        origin = f"{parts.scheme}://{parts.netloc}"
    return origin == own


def _public_url(connection: HTTPConnection) -> str | None:
    return cast("ApiSettings", connection.app.state.settings).api_public_url
