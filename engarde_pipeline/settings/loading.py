"""Loading the settings from the environment, with every problem in one message.

Where nothing about BigQuery or Postgres is set at all, and `engarde dev` or `engarde demo` have left their home,
the embedded default is chosen here: the local servers that these start and announce in `<home>/services.json`.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings.variables import (
    CONNECTION_VARIABLES,
    SHORTEST_SECRET,
    ApiSettings,
    DatabaseSettings,
    PipelineSettings,
    Settings,
    TokenSettings,
)


class InvalidSettings(EngardeError):
    """One or more environment variables are missing or malformed; the message names each."""


class EmbeddedDefaultNotRunning(EngardeError):
    """Nothing is configured, and the embedded Postgres and BigQuery emulator are not running."""


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
