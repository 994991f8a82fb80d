"""Every environment variable: its type, its bounds, and what it is for."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from engarde_pipeline.core import addresses

API_ROLE = "engarde_api"
"""The database role of the REST API, restricted to one tenant at a time (migration 0003)."""

SHORTEST_SECRET = 32
FEWEST_CHARACTERS = 8
"""Bytes of a secret for HS256: as many as the hash has (RFC 7518, 3.2)."""


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
