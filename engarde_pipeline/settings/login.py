"""The environment variables of the login to the pages."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_ORIGIN = re.compile(r"(https://[A-Za-z0-9.-]+|http://(?:localhost|127\.0\.0\.1|\[::1\]))(:\d{1,5})?")
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}

_NEEDED = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "api_public_url")
"""What a login with OpenID Connect needs."""

_TOGETHER = "is missing; OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and API_PUBLIC_URL are needed together"


def _given(value: str) -> str:
    if not value:
        raise ValueError(_TOGETHER)
    return value


def _given_secret(value: SecretStr) -> SecretStr:
    _given(value.get_secret_value())
    return value


def _issuer(value: str) -> str:
    _given(value)
    match = _ORIGIN.match(value)
    if match is None or not re.fullmatch(r"(/[^?#\s]*)?", value[match.end() :]):
        raise ValueError("must look like https://login.example.com/realm; http is accepted on this machine only")
    return value  # with its slash at the end, if it has one: the provider's name is compared as it is


def _public_url(value: str) -> str:
    """Return the address as browsers send it in the header Origin."""
    _given(value)
    value = value.rstrip("/").lower()
    if not _ORIGIN.fullmatch(value):
        raise ValueError(
            "must look like https://metrics.example.com, without a path; http is accepted on this machine only"
        )
    return value.removesuffix(_DEFAULT_PORTS[value.partition(":")[0]])


@dataclass(frozen=True)
class OidcSettings:
    """The identity provider of OpenID Connect with which people log in to the pages."""

    issuer: str
    client_id: str
    client_secret: SecretStr
    audience: str
    tenant_claim: str
    public_url: str
    """The address of this server for browsers."""


class LoginSettings(BaseSettings):
    """The settings of the login to the pages."""

    # As that of PipelineSettings: one of the two would win in a subclass of both.
    model_config = SettingsConfigDict(
        env_ignore_empty=True, hide_input_in_errors=True, frozen=True, defer_build=True
    )

    api_public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        default=None,
        description="The address under which browsers reach the API and the pages, as https://metrics.example.com.",
    )
    oidc_issuer: Annotated[str, AfterValidator(_issuer)] | None = Field(
        default=None, description="The identity provider of OpenID Connect, as it names itself (its issuer)."
    )
    oidc_client_id: Annotated[str, AfterValidator(_given)] | None = Field(
        default=None, description="The client that the identity provider has for the pages."
    )
    oidc_client_secret: Annotated[SecretStr, AfterValidator(_given_secret)] | None = Field(
        default=None, description="The secret of this client."
    )
    oidc_audience: str | None = Field(
        default=None, description="The audience of ID tokens. If it is not set, it is the client's id."
    )
    oidc_tenant_claim: str = Field(
        default="tenant_ids",
        description="The claim of the ID token with the tenants of a person: a UUID, or a list of UUIDs. The name"
        " of a claim inside others is written with dots, as app.tenant_ids.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_complete(cls, values: Any) -> Any:
        """Let each missing variable be named if others of the login with OpenID Connect are set."""
        if isinstance(values, dict) and any(values.get(name) for name in _NEEDED if name.startswith("oidc")):
            return {**dict.fromkeys(_NEEDED, ""), **values}
        return values

    @property
    def oidc(self) -> OidcSettings | None:
        """The identity provider, if one is configured."""
        if not (self.oidc_issuer and self.oidc_client_id and self.oidc_client_secret and self.api_public_url):
            return None
        return OidcSettings(
            issuer=self.oidc_issuer,
            client_id=self.oidc_client_id,
            client_secret=self.oidc_client_secret,
            audience=self.oidc_audience or self.oidc_client_id,
            tenant_claim=self.oidc_tenant_claim,
            public_url=self.api_public_url,
        )
