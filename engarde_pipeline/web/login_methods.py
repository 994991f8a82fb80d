"""How people log in: by one-time links in the embedded default, by an identity provider in production."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engarde_pipeline.api.rate_limit import RateLimit
from engarde_pipeline.settings import LoginSettings
from engarde_pipeline.web.login_links import LoginLinks

if TYPE_CHECKING:
    from engarde_pipeline.web.identity_provider import IdentityProvider

LINK_USER = "developer"
"""The user of a session that a link has begun, as of the tokens of `engarde api token`."""

_FAILED_LINKS = "20/minute"


@dataclass(frozen=True)
class LoginMethods:
    """What this server accepts; without a provider and links, nobody can log in."""

    provider: "IdentityProvider | None"
    links: LoginLinks | None
    failed_links: RateLimit
    """Of an address. The provider's answers are not limited: behind a proxy, all people may have one address."""


def login_methods(settings: LoginSettings, links: LoginLinks | None) -> LoginMethods:
    """Return the methods of these settings; `links` are those of the embedded default, if that is used."""
    provider = None
    if settings.oidc:
        from engarde_pipeline.web.identity_provider import IdentityProvider

        provider = IdentityProvider(settings.oidc)
    return LoginMethods(provider, None if provider else links, RateLimit(_FAILED_LINKS))
