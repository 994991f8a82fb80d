"""Every environment variable: typed, validated, and named in one error.

Where nothing about BigQuery or Postgres is set at all, and `engarde dev` or `engarde demo` have left their home,
the embedded default is chosen here: the local servers that these start and announce in `<home>/services.json`.
"""

import json
import os
import re
import secrets
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from engarde_pipeline.core import addresses
from engarde_pipeline.core.errors import EngardeError

API_ROLE = "engarde_api"
"""The database role of the REST API, restricted to one tenant at a time (migration 0003)."""

SHORTEST_SECRET = 32
FEWEST_CHARACTERS = 8
"""Bytes of a secret for HS256: as many as the hash has (RFC 7518, 3.2)."""


class InvalidSettings(EngardeError):
    """One or more environment variables are missing or malformed; the message names each."""


class EmbeddedDefaultNotRunning(EngardeError):
    """Nothing is configured, and the embedded Postgres and BigQuery emulator are not running."""


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+", value.rstrip("/")):
        raise ValueError("must look like http://host:port")
    return value.rstrip("/")


def _host_and_port(value: str) -> str:
    if not re.fullmatch(r"[^\s/:]+:\d{1,5}", value):
        raise ValueError("must look like host:port, without http://")
    return value


def _credentials(value: SecretStr) -> SecretStr:
    # A malformed secret is still a secret: none of it may reach the message.
    try:
        parsed = json.loads(value.get_secret_value())
    except json.JSONDecodeError:
        raise ValueError("is not JSON; paste the whole service account key file, not its path or base64") from None
    fields = ("type", "client_email", "private_key", "token_uri")
    if not isinstance(parsed, dict) or not all(parsed.get(field) for field in fields):
        raise ValueError(f"is not a service account key: it needs the fields {', '.join(fields)}")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    try:
        url = addresses.parse(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError(
            "must look like postgresql://user:password@host:5432/database, an @ in the password written as %40"
        ) from None
    if url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("must be a Postgres address, postgresql://user:password@host:5432/database")
    return value


def _hard_to_guess(value: SecretStr) -> SecretStr:
    secret, cure = value.get_secret_value().encode(), "`openssl rand -base64 48` makes a good one"
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"is too short: {SHORTEST_SECRET} bytes at least, or it can be guessed; {cure}")
    if len(set(secret)) < FEWEST_CHARACTERS:
        raise ValueError(f"repeats a few characters, and so can be guessed; {cure}")
    return value


def _rate_limit(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", value):
        raise ValueError("must look like 1200/minute")
    return value


class PipelineSettings(BaseSettings):
    """What the pipeline does; every variable has a default, so the definitions load without any."""

    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True, frozen=True)

    engarde_home: Path = Field(
        default=Path(".engarde"), description="Where the embedded default and the Dagster instance live."
    )
    engarde_first_date: date = Field(
        default=date(2020, 1, 1), description="The first daily partition, as YYYY-MM-DD."
    )
    engarde_shrink_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A date is refused when BigQuery has fewer than this share of the rows Postgres has"
        " for it (rule 5); 0 refuses only an empty answer.",
    )
    engarde_writers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Over how many connections to Postgres a range of dates is written side by side.",
    )
    engarde_window_days: int = Field(
        default=30,
        ge=1,
        le=366,
        description="How many dates up to today are kept in step with BigQuery, and synced on a first start.",
    )
    engarde_daily_bytes: int = Field(
        default=1024**4,
        gt=0,
        description="How many bytes BigQuery may read a day (UTC) for scheduled and sensor syncs together.",
    )
    engarde_dagster_url: Annotated[str, AfterValidator(_http_url)] = Field(
        default="http://127.0.0.1:3000", description="Where people open the Dagster UI: alerts link to it."
    )
    engarde_alert_webhook_url: SecretStr | None = Field(
        default=None, description="Alerts are posted here as JSON."
    )
    engarde_alert_slack_url: SecretStr | None = Field(
        default=None, description="Alerts go to Slack through this incoming webhook."
    )
    engarde_alert_pagerduty_key: SecretStr | None = Field(
        default=None, description="Alerts go to PagerDuty with this integration (routing) key, Events API v2."
    )
    engarde_alert_pagerduty_url: Annotated[str, AfterValidator(_http_url)] = Field(
        default="https://events.pagerduty.com",
        description="PagerDuty's address; https://events.eu.pagerduty.com for accounts in the EU.",
    )
    engarde_alert_smtp_url: SecretStr | None = Field(
        default=None, description="Alerts are mailed through this server, smtp://user:password@host:587."
    )
    engarde_alert_email_from: str = Field(
        default="engarde@localhost", description="Who the mailed alerts come from."
    )
    engarde_alert_email_to: str | None = Field(
        default=None, description="Who gets the mailed alerts, separated by commas."
    )
    engarde_dates_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Split a backfill into runs of so many dates each; without it a backfill is one run.",
    )
    engarde_maximum_bytes_billed: int = Field(
        default=100 * 1024**3, gt=0, description="No single BigQuery query may bill more bytes than this."
    )


class DatabaseSettings(PipelineSettings):
    """The pipeline's settings and how to reach Postgres."""

    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = Field(
        description="Postgres, as postgresql://user:password@host:5432/database."
    )


class Settings(DatabaseSettings):
    """The pipeline's settings and how to reach BigQuery and Postgres."""

    bigquery_project_id: str = Field(
        pattern=r"^[A-Za-z0-9.:_-]+$", description="The Google Cloud project that holds the dataset."
    )
    bigquery_dataset_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = Field(
        default="engarde_analytics", description="The dataset with campaign_metrics and asset_metrics."
    )
    bigquery_location: str = Field(default="US", description="The dataset's location.")
    bigquery_credentials_json: Annotated[SecretStr, AfterValidator(_credentials)] | None = Field(
        default=None,
        description="The service account key itself, as JSON; absent: application default credentials.",
    )
    bigquery_emulator_host: Annotated[str, AfterValidator(_http_url)] | None = Field(
        default=None, description="An emulator's http://host:port."
    )
    bigquery_storage_emulator_host: Annotated[str, AfterValidator(_host_and_port)] | None = Field(
        default=None, description="The emulator's Storage API, host:port; without it queries are used."
    )


class TokenSettings(PipelineSettings):
    """What signing a token needs."""

    jwt_secret_key: Annotated[SecretStr, AfterValidator(_hard_to_guess)] = Field(
        description="The secret with which tokens are signed (HS256), at least 32 bytes."
    )


class ApiSettings(Settings, TokenSettings):
    """What the REST API needs."""

    api_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        default=None,
        description="The API's own login to the database, of the role engarde_api:"
        " postgresql://engarde_api:password@host:5432/database; absent: DATABASE_URL's, taking that role.",
    )
    api_cors_origins: str = Field(
        default="", description="Web origins that may call the API, with commas between; * for all."
    )
    api_rate_limit: Annotated[str, AfterValidator(_rate_limit)] = Field(
        default="30000/minute", description="How many requests a tenant may make, such as 1200/minute."
    )

    @property
    def api_login(self) -> str:
        """The address at which the API connects."""
        return (self.api_database_url or self.database_url).get_secret_value()

    @property
    def api_takes_role(self) -> bool:
        """Whether the API takes the role engarde_api after connecting, having no login of its own."""
        return self.api_database_url is None


CONNECTION_VARIABLES = (
    *(name.upper() for name in Settings.model_fields if name not in PipelineSettings.model_fields),
    "API_DATABASE_URL",
)


_S = TypeVar("_S", bound=PipelineSettings)


def is_unconfigured() -> bool:
    """Whether nothing about BigQuery or Postgres is set: `engarde dev` and `demo` then use their own servers."""
    return not any(os.environ.get(name) for name in CONNECTION_VARIABLES)


def is_embedded() -> bool:
    """Whether the embedded default is meant: nothing is set, and `engarde dev` or `demo` have left their home.

    Without that home nobody asked for sample data: a production that lost its variables must say so.
    """
    if not is_unconfigured():
        return False
    home = load_pipeline_settings().engarde_home
    return embedded_data(home).is_dir() or services_file(home).is_file()


def load_pipeline_settings() -> PipelineSettings:
    """Return the settings that need no server.

    Raises:
        InvalidSettings: a variable is malformed.
    """
    return _load(PipelineSettings)


def load_settings() -> Settings:
    """Return all settings, from the environment or, where nothing is set, from the embedded default.

    Raises:
        InvalidSettings: variables are missing or malformed; one message names them all.
        EmbeddedDefaultNotRunning: nothing is set, and the local servers are not running.
    """
    if not is_embedded():
        return _load(Settings)
    return _load(Settings, **_announced_services())


def load_database_settings() -> DatabaseSettings:
    """Return the settings of what uses Postgres alone; see `load_settings`."""
    if not is_embedded():
        return _load(DatabaseSettings)
    return _load(DatabaseSettings, **_announced_services())


def load_token_settings() -> TokenSettings:
    """Return the settings of what signs tokens, where the embedded default is meant with its own secret.

    Raises:
        InvalidSettings: the secret is missing or malformed.
    """
    if os.environ.get("JWT_SECRET_KEY") or not is_embedded():
        return _load(TokenSettings)
    secret = _embedded_secret(load_pipeline_settings().engarde_home)
    return _load(TokenSettings, jwt_secret_key=secret)


def load_api_settings() -> ApiSettings:
    """Return the API's settings; those that are missing come from the embedded default, where that is meant.

    Raises:
        InvalidSettings: variables are missing or malformed; one message names them all.
        EmbeddedDefaultNotRunning: nothing about the servers is set, and the local ones are not running.
    """
    if not is_embedded():
        return _load(ApiSettings)
    values = _announced_services()
    if not os.environ.get("JWT_SECRET_KEY"):
        values["jwt_secret_key"] = _embedded_secret(load_pipeline_settings().engarde_home)
    return _load(ApiSettings, **values)


def _announced_services() -> dict[str, str]:
    announced = services_file(load_pipeline_settings().engarde_home)
    try:
        services: dict[str, str] = json.loads(announced.read_text())
    except FileNotFoundError:
        raise EmbeddedDefaultNotRunning(
            f"Nothing about BigQuery or Postgres is set and {announced.parent} holds sample data, so the embedded"
            " default is meant, but it is not running. Start it with `engarde dev` (or `make dev`), or set"
            " BIGQUERY_PROJECT_ID and DATABASE_URL to use real servers."
        ) from None
    return {name.lower(): value for name, value in services.items()}


def _embedded_secret(home: Path) -> str:
    """Return the secret of the embedded default, made once; no other user of the machine can read it."""
    kept = home / "jwt_secret_key"
    try:
        descriptor = os.open(kept, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return kept.read_text()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(SHORTEST_SECRET))
    return kept.read_text()


def embedded_data(home: Path) -> Path:
    """Return the directory with the data of the embedded Postgres, which `engarde dev` and `demo` leave behind."""
    return home / "postgres"


def services_file(home: Path) -> Path:
    """Return the file in which running local servers announce themselves, as environment variables."""
    return home / "services.json"


def check_environment() -> None:
    """Check what is set, so that a code location with a malformed environment says so when it loads.

    Raises:
        InvalidSettings: variables are missing or malformed; one message names them all.
    """
    # Where the embedded default is meant, its servers may start later.
    load_pipeline_settings() if is_embedded() else load_settings()


def _load(settings: type[_S], **values: Any) -> _S:
    try:
        return settings(**values)
    except ValidationError as error:
        raise InvalidSettings(_message(settings, error)) from None


def _message(settings: type[PipelineSettings], error: ValidationError) -> str:
    lines = ["These environment variables need attention:"]
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0])
        problem = "is missing" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
        lines.append(f"  {name.upper()}: {problem}. {settings.model_fields[name].description}")
    if is_unconfigured() and issubclass(settings, DatabaseSettings):
        lines.append(
            "Nothing about the servers is set. To try it on sample data instead: `engarde demo` or `engarde dev`."
        )
    return "\n".join(lines)
