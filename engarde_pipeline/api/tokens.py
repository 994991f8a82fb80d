"""Authentication with bearer tokens, which are JWTs signed with HS256."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, cast
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from engarde_pipeline.api.errors import Problem

ALGORITHM = "HS256"
LEEWAY_SECONDS = 60
"""How far the clock of the machine that signs tokens may be ahead of this one."""

TOKEN_SUBPROTOCOL = "bearer."  # noqa: S105  a prefix
"""The beginning of the WebSocket subprotocol with which a browser sends its token."""

SYNC_ALL = "sync:all"
"""The scope that allows syncing all tenants, and seeing the counts of such syncs."""

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A JWT, signed with HS256, with the claims `tenant_id` and `exp`.",
)


@dataclass(frozen=True)
class Caller:
    """The tenant and user that a request is made for."""

    tenant_id: UUID
    user_id: str | None
    scopes: frozenset[str]
    expires_at: int
    """Seconds since 1970; an open connection ends then."""

    @property
    def may_sync_all(self) -> bool:
        """Whether the caller may sync all tenants."""
        return SYNC_ALL in self.scopes


def mint(secret: str, tenant_id: UUID, user_id: str, lifetime: timedelta, scopes: str = "") -> str:
    """Return a signed token."""
    claims = {"tenant_id": str(tenant_id), "sub": user_id, "exp": datetime.now(UTC) + lifetime, "scope": scopes}
    return jwt.encode(claims, secret, ALGORITHM)


def verify(token: str, secret: str) -> Caller:
    """Verify a token and return its caller.

    Raises:
        Problem: 401, the token is not signed with `secret` by HS256, has expired, or has no expiry; 403, it has no
            valid tenant.
    """
    try:
        claims = jwt.decode(
            token,
            secret,
            # Only this algorithm: otherwise the token could choose how it is verified (`none`, or a public key).
            algorithms=[ALGORITHM],
            options={"require": ["exp"], "verify_aud": False, "verify_sub": False},
            leeway=LEEWAY_SECONDS,
        )
    except jwt.ExpiredSignatureError:
        raise _expired() from None
    except jwt.ImmatureSignatureError:
        raise _not_authenticated(
            f"The token is not valid yet: its claim iat or nbf is more than {LEEWAY_SECONDS} seconds in the"
            " future. Check the clock of the machine that signed it."
        ) from None
    except jwt.InvalidTokenError:
        raise _not_authenticated(
            "The token is not valid: it is malformed, has no claim exp, or is not signed with the API's key by"
            " HS256."
        ) from None
    if int(claims["exp"]) <= time.time():  # the leeway is only for `iat` and `nbf`
        raise _expired()
    scopes = claims.get("scope")
    return Caller(
        _tenant(claims.get("tenant_id")),
        _user(claims.get("sub")),
        frozenset(scopes.split()) if isinstance(scopes, str) else frozenset(),
        int(claims["exp"]),
    )


def _tenant(claim: object) -> UUID:
    try:
        return UUID(claim)  # type: ignore[arg-type]  # anything but a UUID string is refused below
    except (ValueError, TypeError, AttributeError):
        raise Problem(
            403, "The token has no valid tenant: its claim tenant_id must be the UUID of a tenant."
        ) from None


def _user(claim: object) -> str | None:
    if claim is None:
        return None
    if not isinstance(claim, str | int) or not str(claim).isprintable():
        raise _not_authenticated("The token is not valid: its claim sub is not a user id.")
    return str(claim)[:200]


def _expired() -> Problem:
    return _not_authenticated("The token has expired; get a new token.")


def _not_authenticated(detail: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": "Bearer"})


async def authenticate(connection: HTTPConnection) -> Caller:
    """Return the caller of a request, and count the request towards the tenant's rate limit.

    Raises:
        Problem: 401, 403 or 429.
    """
    credentials = await _bearer(connection)
    token = credentials.credentials if credentials else _subprotocol_token(connection)
    if token is None:
        raise _not_authenticated("A bearer token is required; send the header Authorization: Bearer <JWT>.")
    caller = verify(token, connection.app.state.secret)
    await connection.app.state.rate_limit.hit(caller.tenant_id)
    return caller


def has_token(connection: HTTPConnection) -> bool:
    """Return whether a request has a token, whatever it is."""
    return "authorization" in connection.headers or _subprotocol_token(connection) is not None


def _subprotocol_token(connection: HTTPConnection) -> str | None:
    """Return the token that a browser, which cannot send headers, offers as a WebSocket subprotocol."""
    offered = connection.scope.get("subprotocols", [])
    tokens = (each.removeprefix(TOKEN_SUBPROTOCOL) for each in offered if each.startswith(TOKEN_SUBPROTOCOL))
    return next(tokens, None)


# The second parameter adds the security scheme to the OpenAPI document.
async def _current_caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    return cast("Caller", request.state.caller)


CurrentCaller = Annotated[Caller, Depends(_current_caller)]
"""The caller that an `AuthenticatedRoute` has authenticated."""
