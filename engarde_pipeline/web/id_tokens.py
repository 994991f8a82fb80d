"""The ID token of an identity provider: who has logged in, and with which tenants."""

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from engarde_pipeline.api.sessions import MAX_TENANTS, MAX_USER_ID
from engarde_pipeline.settings import OidcSettings
from engarde_pipeline.web.login_errors import LoginFailed

logger = logging.getLogger(__name__)

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those with a public key. With HS256, this server's own secret could sign a token, and with `none` anybody."""

_LEEWAY_SECONDS = 60
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "it has expired; check the clocks of both servers"),
    (jwt.ImmatureSignatureError, "it is not valid yet; check the clocks of both servers"),
    (jwt.InvalidIssuerError, "it is from another issuer than OIDC_ISSUER"),
    (jwt.InvalidAudienceError, "it is for another audience than OIDC_AUDIENCE"),
    (jwt.MissingRequiredClaimError, "it lacks a claim that every ID token has"),
    (jwt.InvalidAlgorithmError, "it is signed with an algorithm that is not accepted"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
)


@dataclass(frozen=True)
class Identity:
    """A person, and the tenants that the provider gives them."""

    user_id: str
    tenant_ids: tuple[UUID, ...]


def signing_algorithms(metadata: Mapping[str, Any]) -> list[str]:
    """Return the algorithms with which a provider, by its metadata, may sign.

    Raises:
        LoginFailed: it signs with none that is accepted.
    """
    offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
    found = [each for each in _ALGORITHMS if isinstance(offered, list) and each in offered]
    if not found:
        raise _refused("the provider signs with no algorithm that is accepted, such as RS256 or ES256")
    return found


def identity_of(token: str, key: jwt.PyJWK, algorithms: list[str], nonce: str, settings: OidcSettings) -> Identity:
    """Verify an ID token, and return who it is about.

    Raises:
        LoginFailed: the token is not valid, or the person has no tenants.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
    except (jwt.PyJWTError, OverflowError) as error:
        raise _refused(next((reason for kind, reason in _REASONS if isinstance(error, kind)), "")) from None
    if not _is_equal(claims.get("nonce"), nonce):
        raise _refused("it belongs to another login")
    if not _is_for_client(claims, settings.client_id):
        raise _refused("it was issued to another client than OIDC_CLIENT_ID")
    user_id = claims["sub"]
    if not (user_id.isascii() and user_id.isprintable() and 0 < len(user_id) <= MAX_USER_ID):
        raise _refused("its claim sub is not a user id")
    return Identity(user_id, _tenant_ids(claims, settings.tenant_claim))


def _is_equal(claim: object, expected: str) -> bool:
    return isinstance(claim, str) and hmac.compare_digest(claim.encode(errors="replace"), expected.encode())


def _is_for_client(claims: Mapping[str, Any], client_id: str) -> bool:
    """Return whether the authorized party is this client; it must be named if there are several audiences."""
    party = claims.get("azp")
    if party is None:
        return isinstance(claims["aud"], str) or len(claims["aud"]) == 1
    return bool(party == client_id)


def _tenant_ids(claims: Mapping[str, Any], name: str) -> tuple[UUID, ...]:
    value = _claim(claims, name)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise LoginFailed(
            403,
            f"Your account has no tenants: the ID token has no claim {name!r} (OIDC_TENANT_CLAIM). Ask whoever"
            " manages the identity provider for access, and log in again.",
        )
    found = dict.fromkeys(each for each in map(_uuid, values) if each)
    if not found:
        raise LoginFailed(
            403, f"Your account has no tenants: the claim {name!r} of the ID token has no UUID of a tenant."
        )
    if len(found) > MAX_TENANTS:
        raise LoginFailed(
            403,
            f"Your account has {len(found):,} tenants, and this page can show {MAX_TENANTS} at most. Ask whoever"
            " manages the identity provider for an account with those that you need.",
        )
    return tuple(found)


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its name, which may have dots, or by its path through others."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value)  # type: ignore[arg-type]  # anything but a UUID string is refused below
    except (ValueError, TypeError, AttributeError):
        logger.warning("A tenant of a login was ignored, because it is not a UUID: %.100r", value)
        return None


def _refused(reason: str) -> LoginFailed:
    logger.error("An ID token was refused: %s", reason or "it is malformed")
    return LoginFailed(
        502,
        f"The identity provider's ID token was refused: {reason or 'it is malformed'}. Log in again; if this"
        " happens once more, tell the operator of this page.",
    )
