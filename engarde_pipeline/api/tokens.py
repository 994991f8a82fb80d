"""Who calls: bearer tokens, JWTs signed with HS256."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, cast
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from engarde_pipeline.api.errors import Problem

ALGORITHM = "HS256"
CLOCK_SECONDS = 60
"""How far the clock of whoever signs tokens may be ahead of ours."""

SYNC_ALL = "sync:all"
"""The scope that allows to sync every tenant, and to see what such syncs counted."""

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A JWT with `tenant_id` and `exp`.")


@dataclass(frozen=True)
class Caller:
    """Whose request this is."""

    tenant_id: UUID
    user_id: str | None
    scopes: frozenset[str]

    @property
    def may_sync_all(self) -> bool:
        """Whether the caller works for all tenants."""
        return SYNC_ALL in self.scopes


def mint(secret: str, tenant_id: UUID, user_id: str, lifetime: timedelta, scopes: str = "") -> str:
    """Return a token."""
    claims = {"tenant_id": str(tenant_id), "sub": user_id, "exp": datetime.now(UTC) + lifetime, "scope": scopes}
    return jwt.encode(claims, secret, ALGORITHM)


def read(token: str, secret: str) -> Caller:
    """Return whose token this is.

    Raises:
        Problem: 401, it is not signed with `secret` by HS256, has expired or never does; 403, it names no tenant.
    """
    try:
        claims = jwt.decode(
            token,
            secret,
            # One algorithm: with `none` or a public-key one in the list, the token would choose how it is checked.
            algorithms=[ALGORITHM],
            options={"require": ["exp"], "verify_aud": False, "verify_sub": False},
            leeway=CLOCK_SECONDS,
        )
    except jwt.ExpiredSignatureError:
        raise _expired() from None
    except jwt.ImmatureSignatureError:
        raise _not_authenticated(
            f"The token is not valid yet: its claim iat or nbf lies more than {CLOCK_SECONDS} seconds ahead."
            " Check the clock of the machine that signed it."
        ) from None
    except jwt.InvalidTokenError:
        raise _not_authenticated("The token is not valid.") from None
    if int(claims["exp"]) <= time.time():  # the leeway is for `iat` and `nbf` only
        raise _expired()
    scopes = claims.get("scope")
    return Caller(
        _tenant(claims.get("tenant_id")),
        _user(claims.get("sub")),
        frozenset(scopes.split()) if isinstance(scopes, str) else frozenset(),
    )


def _tenant(claim: object) -> UUID:
    try:
        return UUID(claim)  # type: ignore[arg-type]  # whatever it is, it is judged here
    except (ValueError, TypeError, AttributeError):
        raise Problem(403, "The token names no tenant: its claim tenant_id must be a tenant's uuid.") from None


def _user(claim: object) -> str | None:
    if claim is None:
        return None
    if not isinstance(claim, str | int) or not str(claim).isprintable():
        raise _not_authenticated("The token is not valid: its claim sub is no user's id.")
    return str(claim)[:200]


def _expired() -> Problem:
    return _not_authenticated("The token has expired; get a new one.")


def _not_authenticated(detail: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": "Bearer"})


async def caller_of(request: Request) -> Caller:
    """Return whose request this is, having counted it against the tenant's rate limit.

    Raises:
        Problem: 401, 403 or 429.
    """
    credentials = await _bearer(request)
    if credentials is None:
        raise _not_authenticated("A bearer token is needed: Authorization: Bearer <JWT>.")
    found = read(credentials.credentials, request.app.state.secret)
    await request.app.state.rate_limit.hit(found.tenant_id)
    return found


# The second parameter is for the OpenAPI document.
async def _known(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    return cast("Caller", request.state.caller)


Authenticated = Annotated[Caller, Depends(_known)]
"""Who calls; for an `AuthenticatedRoute`."""
