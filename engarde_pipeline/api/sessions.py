"""Sessions of people in a browser: a signed cookie that says who they are and which tenants they may see.

A session is not a bearer token, and no bearer token is a session: they are signed with different keys. A browser
sends its cookies with requests that other sites cause, too: a session counts only for requests of its own pages.
"""

import hmac
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
from fastapi.requests import HTTPConnection
from starlette.responses import Response

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.tokens import ALGORITHM, Caller

COOKIE = "engarde_session"

LIFETIME = timedelta(hours=12)

MAX_TENANTS = 60
"""The ids of so many tenants fit into a cookie, which has at most 4,096 bytes."""


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
        "tenant_id": str(session.tenant_id),
        "tenant_ids": [str(each) for each in session.tenant_ids],
        "exp": session.expires_at,
    }
    return jwt.encode(claims, session_key(secret, "session"), ALGORITHM)


def read_session(value: str, secret: str) -> Session | None:
    """Return the session of a cookie, or None if it has expired or was not signed with `secret`."""
    try:
        claims: dict[str, Any] = jwt.decode(
            value, session_key(secret, "session"), [ALGORITHM], options={"require": ["exp", "sub"]}
        )
    except jwt.InvalidTokenError:
        return None
    tenant_ids = tuple(UUID(each) for each in claims["tenant_ids"])
    return Session(claims["sub"], UUID(claims["tenant_id"]), tenant_ids, int(claims["exp"]))


def session_key(secret: str, purpose: str) -> bytes:
    """Return a key for one purpose, with which nothing can be signed that counts for another."""
    return hmac.digest(secret.encode(), f"engarde {purpose}".encode(), sha256)


def session_of(connection: HTTPConnection) -> Session | None:
    """Return the valid session of a connection, or None."""
    value = connection.cookies.get(COOKIE)
    return read_session(value, connection.app.state.secret) if value else None


def set_session(response: Response, session: Session, secret: str, *, is_secure: bool) -> None:
    """Set the session's cookie, which no script can read and which other sites' forms do not send."""
    response.set_cookie(
        COOKIE,
        signed(session, secret),
        max_age=max(0, session.expires_at - int(time.time())),
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )


def is_same_origin(connection: HTTPConnection) -> bool:
    """Return whether a page of this server has caused a request, by Sec-Fetch-Site or else by Origin.

    A browser sends one of them at least, and no page can change them.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host == connection.headers.get("host")
