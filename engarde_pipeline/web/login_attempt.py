"""A login with OpenID Connect that has begun: what only this browser knows, in a signed cookie."""

import hmac
import re
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from fastapi.requests import HTTPConnection
from starlette.responses import Response

from engarde_pipeline.api.sessions import cookie_name, set_cookie, sign, verified

COOKIE = "engarde_login"

LIFETIME = timedelta(minutes=10)

_PURPOSE = "login"

_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]{0,1000}")
"""A path of this server: neither `//host`, nor anything that a browser changes into that."""


@dataclass(frozen=True)
class LoginAttempt:
    """A login that has begun. The provider gets the state and the nonce, and only at the end the verifier."""

    state: str
    nonce: str
    verifier: str
    path: str
    """The page that is shown after the login."""

    @classmethod
    def begin(cls, path: str) -> "LoginAttempt":
        """Return a new attempt."""
        return cls(secrets.token_urlsafe(), secrets.token_urlsafe(), secrets.token_urlsafe(48), local_path(path))

    def has_state(self, state: str) -> bool:
        """Return whether the provider's answer is that to this attempt."""
        return hmac.compare_digest(state.encode(errors="replace"), self.state.encode())


def keep(connection: HTTPConnection, response: Response, attempt: LoginAttempt) -> None:
    """Keep an attempt in the browser."""
    seconds = int(LIFETIME.total_seconds())
    claims = {**asdict(attempt), "exp": int(time.time()) + seconds}
    set_cookie(connection, response, COOKIE, sign(claims, connection.app.state.secret, _PURPOSE), seconds)


def forget(connection: HTTPConnection, response: Response) -> None:
    """Let the browser forget its attempt."""
    set_cookie(connection, response, COOKIE, "", 0)


def attempt_of(connection: HTTPConnection) -> LoginAttempt | None:
    """Return the attempt that the browser has begun, unless that was too long ago."""
    value = connection.cookies.get(cookie_name(connection, COOKIE))
    claims = verified(value, connection.app.state.secret, _PURPOSE) if value else None
    if claims is None:
        return None
    try:
        return LoginAttempt(claims["state"], claims["nonce"], claims["verifier"], local_path(claims["path"]))
    except (KeyError, TypeError):  # the claims of another version
        return None


def local_path(path: str) -> str:
    """Return `path` if it is one of this server, or else that of the overview."""
    return path if _LOCAL_PATH.fullmatch(path) else "/"
