"""The identity provider with which people log in in production, by OpenID Connect.

This is the authorization code flow with PKCE. authlib makes its requests, and PyJWT verifies the ID token. This
module is imported only where a provider is configured.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2
import jwt
from anyio import CapacityLimiter, to_thread
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from engarde_pipeline.settings import OidcSettings
from engarde_pipeline.web.id_tokens import Identity, identity_of, signing_algorithms
from engarde_pipeline.web.login_attempt import LoginAttempt
from engarde_pipeline.web.login_errors import LoginFailed

logger = logging.getLogger(__name__)

CALLBACK = "/login/callback"

_REQUEST_SECONDS = 5
_DEADLINE = 10
"""Seconds that a person waits for the provider in total."""

_LOGOUT_DEADLINE = 1
"""The same for a logout, which does not need the provider."""

_METADATA_SECONDS = 3600
_KEYS_SECONDS = 3600


@dataclass(frozen=True)
class _Metadata:
    """What the provider says about itself."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None
    algorithms: list[str]
    client_authentication: str
    keys: jwt.PyJWKClient
    read_at: float


class IdentityProvider:
    """The provider of the settings. Its metadata and keys are fetched when needed, and kept for an hour."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._metadata: _Metadata | None = None
        self._reading = asyncio.Lock()
        self._threads = CapacityLimiter(2)

    async def authorization_url(self, attempt: LoginAttempt) -> str:
        """Return the address of the provider at which a person logs in.

        Raises:
            LoginFailed: the provider does not respond, or its metadata is not usable.
        """
        async with _in_time():
            metadata = await self._current_metadata()
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=attempt.state,
                code_verifier=attempt.verifier,
                nonce=attempt.nonce,
            )
        return str(url)

    async def identify(self, code: str, attempt: LoginAttempt) -> Identity:
        """Return who has logged in, by the code that the provider has sent the person back with.

        Raises:
            LoginFailed: the provider does not respond, refuses the code, or says something that is not to be
                believed; or the person has no tenants.
        """
        async with _in_time():
            metadata = await self._current_metadata()
            token = await self._id_token(metadata, code, attempt)
            # PyJWT's client blocks while it fetches keys.
            key = await to_thread.run_sync(
                _key_of, metadata.keys, token, limiter=self._threads, abandon_on_cancel=True
            )
        return identity_of(token, key, metadata.algorithms, attempt.nonce, self._settings)

    async def logout_url(self) -> str | None:
        """Return the address at which the provider ends its own session, or None if it has none.

        If the provider does not respond soon, it is None, too. Metadata that is known is used at any age.
        """
        try:
            async with _in_time(_LOGOUT_DEADLINE):
                metadata = self._metadata or await self._current_metadata()
        except LoginFailed:
            return None
        if metadata.end_session_endpoint is None:
            return None
        query = {
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": f"{self._settings.public_url}/login",
        }
        separator = "&" if "?" in metadata.end_session_endpoint else "?"
        return f"{metadata.end_session_endpoint}{separator}{urlencode(query)}"

    def is_other_issuer(self, issuer: str) -> bool:
        """Return whether an answer says that it is from another provider (RFC 9207)."""
        return bool(issuer) and issuer != self._settings.issuer

    def _client(self, metadata: _Metadata | None = None) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._settings.client_id,
            self._settings.client_secret.get_secret_value(),
            token_endpoint_auth_method=metadata.client_authentication if metadata else None,
            scope="openid",
            redirect_uri=self._settings.public_url + CALLBACK,
            code_challenge_method="S256",
            timeout=_REQUEST_SECONDS,
        )

    async def _id_token(self, metadata: _Metadata, code: str, attempt: LoginAttempt) -> str:
        async with self._client(metadata) as client:
            try:
                tokens = await client.fetch_token(
                    metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                )
            except OAuthError as error:
                logger.warning("The identity provider refused a code: %.200r", error.error)
                if error.error == "invalid_grant":
                    raise LoginFailed(
                        400, "The identity provider does not accept this login any more. Log in again."
                    ) from None
                raise LoginFailed(
                    502,
                    "The identity provider refused this server. The operator has to check OIDC_CLIENT_ID and"
                    " OIDC_CLIENT_SECRET, and the client at the provider.",
                ) from None
            except (TypeError, AttributeError):
                raise _unusable("its answer cannot be read") from None
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise _unusable("its answer has no ID token")
        return token

    async def _current_metadata(self) -> _Metadata:
        async with self._reading:
            if self._metadata is None or time.monotonic() - self._metadata.read_at > _METADATA_SECONDS:
                self._metadata = await self._read_metadata()
            return self._metadata

    async def _read_metadata(self) -> _Metadata:
        issuer = self._settings.issuer
        async with httpx2.AsyncClient(timeout=_REQUEST_SECONDS) as client:
            response = await client.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if response.status_code != 200:
            raise _unusable(f"the request for its metadata returned {response.status_code}")
        found = response.json()
        if not isinstance(found, dict):
            raise _unusable("its metadata is not a JSON object")
        if found.get("issuer") != issuer:
            logger.error("The identity provider names itself %.200r, and not OIDC_ISSUER", found.get("issuer"))
            raise _unusable("it has another name than OIDC_ISSUER, which the log of the API shows")
        methods = found.get("token_endpoint_auth_methods_supported")
        takes_basic = not isinstance(methods, list) or "client_secret_basic" in methods
        return _Metadata(
            authorization_endpoint=self._endpoint(found, "authorization_endpoint"),
            token_endpoint=self._endpoint(found, "token_endpoint"),
            end_session_endpoint=(
                self._endpoint(found, "end_session_endpoint") if found.get("end_session_endpoint") else None
            ),
            algorithms=signing_algorithms(found),
            client_authentication="client_secret_basic" if takes_basic else "client_secret_post",
            # Without a pause before an unknown key is looked for again: the tokens come from the provider itself.
            keys=jwt.PyJWKClient(
                self._endpoint(found, "jwks_uri"),
                lifespan=_KEYS_SECONDS,
                timeout=_REQUEST_SECONDS,
                cooldown_duration=0,
            ),
            read_at=time.monotonic(),
        )

    def _endpoint(self, metadata: Mapping[str, Any], name: str) -> str:
        address = metadata.get(name)
        schemes = ("https://",) if self._settings.issuer.startswith("https:") else ("https://", "http://")
        if not isinstance(address, str) or not address.startswith(schemes):
            raise _unusable(f"its metadata has no usable {name}")
        return address


def _key_of(keys: jwt.PyJWKClient, token: str) -> jwt.PyJWK:
    """Return the key that has signed a token; fetch the provider's keys if it is not known."""
    try:
        return keys.get_signing_key_from_jwt(token)
    except (jwt.PyJWKClientConnectionError, OSError, ValueError):
        raise _unusable("its keys cannot be fetched") from None
    except jwt.PyJWTError:
        raise _unusable("the ID token is not signed with one of its keys") from None


@asynccontextmanager
async def _in_time(seconds: float = _DEADLINE) -> AsyncIterator[None]:
    """Limit the time of requests to the provider.

    Raises:
        LoginFailed: the provider does not respond.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, httpx2.HTTPError) as error:
        logger.warning("The identity provider does not respond: %s", type(error).__name__)
        raise LoginFailed(
            503, "The identity provider does not respond. Try again in a minute.", {"Retry-After": "60"}
        ) from None
    except (ValueError, httpx2.InvalidURL):
        raise _unusable("its answer cannot be read") from None


def _unusable(reason: str) -> LoginFailed:
    logger.error("The identity provider cannot be used: %s", reason)
    return LoginFailed(
        502,
        f"The identity provider cannot be used: {reason}. Tell the operator of this page; the log has it, too.",
    )
