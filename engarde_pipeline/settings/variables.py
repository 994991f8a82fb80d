"""The environment variables: their types, bounds, defaults and descriptions."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from engarde_pipeline.core import addresses, source_code
from engarde_pipeline.core.restatement import DEFAULT, RestatementDays, parse_restatement_days
from engarde_pipeline.settings.login import LoginSettings

API_ROLE = "engarde_api"
"""The database role of the REST API, restricted to one tenant at a time (migration 0003)."""

MINIMUM_SECRET_BYTES = 32
"""The minimum size of a secret for HS256, which is the size of the hash (RFC 7518, 3.2)."""

MINIMUM_DISTINCT_BYTES = 8

_CONNECT_SECONDS = "10"


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+", value.rstrip("/")):
        raise ValueError("must look like http://host:port")
    return value.rstrip("/")


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
        raise ValueError("must look like http://host:port or https://host/path")
    return value.rstrip("/")


def _source_code_address(value: str) -> str:
    source_code.parse(value)
    return value


def _host_and_port(value: str) -> str:
    if not re.fullmatch(r"[^\s/:]+:\d{1,5}", value):
        raise ValueError("must look like host:port, without http://")
    return value


def _credentials(value: SecretStr) -> SecretStr:
    # A malformed secret is still a secret: the message must not contain any part of it.
    try:
        parsed = json.loads(value.get_secret_value())
    except json.JSONDecodeError:
        raise ValueError("is not JSON; paste the whole service account key file, not its path or base64") from None
    fields = ("type", "client_email", "private_key", "token_uri")
    if not isinstance(parsed, dict) or not all(parsed.get(field) for field in fields):
        raise ValueError(f"is not a service account key, which needs the fields {', '.join(fields)}")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    try:
        url = addresses.parse(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError(
            "must look like postgresql://user:password@host:5432/database; write an @ in the password as %40"
        ) from None
    if url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("must be a Postgres address, such as postgresql://user:password@host:5432/database")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"(rediss?|redis\+socket)://\S+", value.get_secret_value()):
        raise ValueError("must be an address of redis, such as redis://:password@host:6379/0")
    return value


def _hard_to_guess(value: SecretStr) -> SecretStr:
    secret, cure = value.get_secret_value().encode(), "generate one with `openssl rand -base64 48`"
    if len(secret) < MINIMUM_SECRET_BYTES:
        raise ValueError(f"is too short: it needs at least {MINIMUM_SECRET_BYTES} bytes; {cure}")
    if len(set(secret)) < MINIMUM_DISTINCT_BYTES:
        raise ValueError(f"repeats too few different characters and can be guessed; {cure}")
    return value


def _rate_limit(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", value):
        raise ValueError("must look like 1200/minute")
    return value


def _restatement_days(value: str | RestatementDays) -> RestatementDays:
    return parse_restatement_days(value) if isinstance(value, str) else value


class PipelineSettings(BaseSettings):
    """The settings that need no server; all of them have defaults."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, hide_input_in_errors=True, frozen=True, defer_build=True
    )

    engarde_home: Path = Field(
        default=Path(".engarde"), description="The directory of the Dagster instance and of the embedded default."
    )
    engarde_first_date: date = Field(
        default=date(2020, 1, 1), description="The first daily partition (YYYY-MM-DD)."
    )
    engarde_shrink_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A date is refused when BigQuery has less than this share of the rows that Postgres has for"
        " it. With 0, a date is refused only when BigQuery has no rows for it.",
    )
    engarde_growth_threshold: float = Field(
        default=2,
        gt=1,
        description="A complete date is refused when BigQuery has more than so many times its source rows,"
        " impressions or spend of the last sync.",
    )
    engarde_restatement_days: Annotated[RestatementDays, NoDecode, BeforeValidator(_restatement_days)] = Field(
        default=DEFAULT,
        validate_default=True,
        description="The number of the latest dates that each platform may still restate, as platform=days,"
        " separated by commas; * stands for the platforms that are not named.",
    )
    engarde_writers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="The number of Postgres connections that write the dates of a run in parallel.",
    )
    engarde_window_days: int = Field(
        default=30,
        ge=1,
        le=366,
        description="The number of dates, up to today (UTC), that are kept in sync with BigQuery. The"
        " first start syncs all of them.",
    )
    engarde_daily_bytes: int = Field(
        default=1024**4,
        gt=0,
        description="The number of bytes per day (UTC) that schedules and sensors may read from BigQuery.",
    )
    engarde_log_format: Literal["text", "json"] = Field(
        default="text", description="The format of log lines: text for people, json for programs."
    )
    engarde_dagster_url: Annotated[str, AfterValidator(_web_address)] = Field(
        default="http://127.0.0.1:3000", description="The address of the Dagster UI, for the links in alerts."
    )
    engarde_source_code_url: Annotated[str, AfterValidator(_source_code_address)] | None = Field(
        default=None,
        description="The address of the deployed branch or tag on GitHub or GitLab, such as"
        " https://github.com/acme/engarde_pipeline/tree/main. The UI links each asset to its code there.",
    )
    engarde_alert_webhook_url: SecretStr | None = Field(
        default=None, description="The address to which alerts are posted as JSON."
    )
    engarde_alert_slack_url: SecretStr | None = Field(
        default=None, description="The Slack incoming webhook to which alerts are sent."
    )
    engarde_alert_pagerduty_key: SecretStr | None = Field(
        default=None, description="The PagerDuty integration (routing) key for alerts, Events API v2."
    )
    engarde_alert_pagerduty_url: Annotated[str, AfterValidator(_http_url)] = Field(
        default="https://events.pagerduty.com",
        description="The address of PagerDuty; https://events.eu.pagerduty.com for accounts in the EU.",
    )
    engarde_alert_smtp_url: SecretStr | None = Field(
        default=None, description="The mail server for alerts, as smtp://user:password@host:587."
    )
    engarde_alert_email_from: str = Field(
        default="engarde@localhost", description="The sender of alerts by e-mail."
    )
    engarde_alert_email_to: str | None = Field(
        default=None, description="The recipients of alerts by e-mail, separated by commas."
    )
    engarde_dates_per_run: int | None = Field(
        default=None,
        ge=1,
        description="The number of dates per run of a backfill. If it is not set, a backfill is one run.",
    )
    engarde_maximum_bytes_billed: int = Field(
        default=100 * 1024**3, gt=0, description="The maximum number of bytes that one BigQuery query may bill."
    )


class DatabaseSettings(PipelineSettings):
    """The pipeline settings and the address of Postgres."""

    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = Field(
        description="The address of Postgres, as postgresql://user:password@host:5432/database."
    )


class DagsterSettings(PipelineSettings):
    """The pipeline settings and the address of Dagster's history."""

    dagster_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = Field(
        description="The address of the Postgres database with Dagster's history, as"
        " postgresql://user:password@host:5432/dagster. It is a database of its own."
    )

    @property
    def dagster_storage_url(self) -> str:
        """The address in the form of dagster-postgres, which uses psycopg 2."""
        url = addresses.parse(self.dagster_database_url.get_secret_value()).set(drivername="postgresql+psycopg2")
        # Without a limit, the connection to a host that does not respond takes minutes.
        options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
        if addresses.names_several_hosts(url):
            options["target_session_attrs"] = "read-write"  # not a standby
        # The encoding of all text that is sent, whatever the role has set.
        options |= {**url.query, "client_encoding": "utf8"}
        return url.update_query_dict(options).render_as_string(hide_password=False)


class Settings(DatabaseSettings):
    """The pipeline settings and the addresses of BigQuery and Postgres."""

    bigquery_project_id: str = Field(
        pattern=r"^[A-Za-z0-9.:_-]+$", description="The Google Cloud project of the dataset."
    )
    bigquery_dataset_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = Field(
        default="engarde_analytics", description="The dataset with campaign_metrics and asset_metrics."
    )
    bigquery_location: str = Field(default="US", description="The location of the dataset.")
    bigquery_credentials_json: Annotated[SecretStr, AfterValidator(_credentials)] | None = Field(
        default=None,
        description="The service account key (the JSON text, not a path). If it is not set, application default"
        " credentials are used.",
    )
    bigquery_emulator_host: Annotated[str, AfterValidator(_http_url)] | None = Field(
        default=None, description="The address of a BigQuery emulator, as http://host:port."
    )
    bigquery_storage_emulator_host: Annotated[str, AfterValidator(_host_and_port)] | None = Field(
        default=None,
        description="The address of the emulator's Storage Read API, as host:port. If it is not set, the"
        " emulator is read by queries.",
    )


def _dagster_home(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("must be an absolute path")
    if not (value / "dagster.yaml").is_file():
        raise ValueError(f"has no file dagster.yaml ({value}); `engarde init` writes it")
    return value


class ServiceSettings(DagsterSettings):
    """The settings of the Dagster webserver and daemon."""

    dagster_home: Annotated[Path, AfterValidator(_dagster_home)] = Field(
        description="The directory with dagster.yaml and workspace.yaml, which `engarde init` writes."
    )


class ExporterSettings(DatabaseSettings):
    """The settings of the exporter, whose login to Postgres only reads sums."""

    engarde_webserver_url: Annotated[str, AfterValidator(_web_address)] | None = Field(
        default=None, description="The address of Dagster's webserver, which the exporter checks if it is set."
    )


class ExporterServiceSettings(ExporterSettings, ServiceSettings):
    """The settings of the exporter in production."""


class CodeServerSettings(Settings, ServiceSettings):
    """The settings of the code server and of workers, which run the pipeline."""


class WorkerSettings(CodeServerSettings):
    """The settings of a worker: those of a run, and the address of the broker from which it takes runs."""

    engarde_broker_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="The address of the redis through which the daemon hands runs to the workers, as"
        " redis://:password@host:6379/0, or rediss:// for TLS. The daemon and the webserver need it, too."
    )


class TokenSettings(PipelineSettings):
    """The settings for signing tokens."""

    jwt_secret_key: Annotated[SecretStr, AfterValidator(_hard_to_guess)] = Field(
        description="The secret that signs tokens (HS256), at least 32 bytes."
    )


class ApiSettings(TokenSettings, LoginSettings):
    """The settings of the REST API. It needs no access to BigQuery, and no login of the pipeline."""

    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        default=None, description="The pipeline's login to Postgres. It is not used if API_DATABASE_URL is set."
    )
    api_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        default=None,
        validate_default=True,
        description="The API's login to Postgres as the role engarde_api, as"
        " postgresql://engarde_api:password@host:5432/database. If it is not set, the API logs in with"
        " DATABASE_URL and then switches to that role.",
    )
    engarde_webserver_url: Annotated[str, AfterValidator(_web_address)] | None = Field(
        default=None,
        description="The address at which the API reaches Dagster's webserver in order to start syncs. If it is"
        " not set, ENGARDE_DAGSTER_URL is used.",
    )
    api_cors_origins: str = Field(
        default="", description="The web origins that may call the API, separated by commas; * allows all."
    )
    api_rate_limit: Annotated[str, AfterValidator(_rate_limit)] = Field(
        default="30000/minute", description="The number of requests that a tenant may make, such as 1200/minute."
    )

    @field_validator("api_database_url")
    @classmethod
    def _has_login(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("database_url", "malformed") is None:
            raise ValueError("is missing, and so is DATABASE_URL")
        return value

    @property
    def api_login(self) -> str:
        """The address that the API connects to."""
        login = self.api_database_url or self.database_url
        assert login  # noqa: S101  checked by `_has_login`
        return login.get_secret_value()

    @property
    def webserver_url(self) -> str:
        """The address of Dagster's webserver."""
        return self.engarde_webserver_url or self.engarde_dagster_url

    @property
    def api_takes_role(self) -> bool:
        """Whether the API switches to the role engarde_api after connecting, because it has no separate login."""
        return self.api_database_url is None


CONNECTION_VARIABLES = (
    *(name.upper() for name in Settings.model_fields if name not in PipelineSettings.model_fields),
    "API_DATABASE_URL",
    "DAGSTER_DATABASE_URL",
)
