"""Loads the settings from the environment and reports all problems in one message.

If no variable of BigQuery or Postgres is set and the home directory has data of `engarde dev` or `engarde demo`,
the embedded default is used: the local servers that these commands start and list in `<home>/services.json`.
"""

import difflib
import json
import os
import secrets
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings.login import LoginSettings
from engarde_pipeline.settings.variables import (
    CONNECTION_VARIABLES,
    MINIMUM_SECRET_BYTES,
    ApiSettings,
    DagsterSettings,
    DatabaseSettings,
    ExporterServiceSettings,
    ExporterSettings,
    PipelineSettings,
    Settings,
    TokenSettings,
    WorkerSettings,
)


class InvalidSettings(EngardeError):
    """Environment variables are missing or malformed; the message names all of them."""


class EmbeddedDefaultNotRunning(EngardeError):
    """The embedded default is configured, but its Postgres and BigQuery emulator are not running."""


_ALL_SETTINGS = (ApiSettings, ExporterServiceSettings, WorkerSettings)
"""Together, these have every variable."""

_PREFIXES = ("ENGARDE_", "BIGQUERY_", "OIDC_", "API_")
_SIMILAR = 0.85
"""How similar a name must be to that of a variable to be taken for a mistyped one; 1 is equal."""

_PROBLEMS = {
    "missing": "is missing",
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is neither true nor false",
    "date_from_datetime_parsing": "is not a date",
    "date_from_datetime_inexact": "is not a date",
}
"""By the type of an error, what pydantic says in its own terms."""

_HEADING = "These environment variables are missing or invalid:"

_S = TypeVar("_S", bound=BaseSettings)
_Variables = tuple[tuple[str, str], ...]


def is_unconfigured() -> bool:
    """Return whether no variable of BigQuery or Postgres is set; `engarde dev` and `demo` then start servers."""
    return not any(os.environ.get(name) for name in CONNECTION_VARIABLES)


def is_embedded() -> bool:
    """Return whether the embedded default is to be used.

    Besides unset variables this needs the data of an earlier `engarde dev` or `demo`, so that a production system
    that lost its variables fails and does not sync sample data.
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
    """Return the settings of the pipeline and its servers, from the environment or the embedded default.

    Raises:
        InvalidSettings: variables are missing or malformed.
        EmbeddedDefaultNotRunning: the embedded default is to be used, but is not running.
    """
    if not is_embedded():
        return _load(Settings)
    return _load(Settings, **_running_services())


def load_database_settings() -> DatabaseSettings:
    """Return the settings of code that uses only Postgres; raises as `load_settings`."""
    if not is_embedded():
        return _load(DatabaseSettings)
    return _load(DatabaseSettings, **_running_services())


def has_dagster_database() -> bool:
    """Return whether Dagster's history has a database: one is configured, or the embedded default is used."""
    return bool(os.environ.get("DAGSTER_DATABASE_URL")) or is_embedded()


def load_dagster_settings() -> DagsterSettings:
    """Return the settings of Dagster's storage; raises as `load_settings`."""
    if not is_embedded():
        return _load(DagsterSettings)
    return _load(DagsterSettings, **_running_services())


def load_exporter_settings() -> ExporterSettings:
    """Return the settings of the exporter; raises as `load_settings`."""
    if not is_embedded():
        return _load(ExporterSettings)
    return _load(ExporterSettings, **_running_services())


def load_token_settings() -> TokenSettings:
    """Return the settings for signing tokens; the embedded default has its own secret.

    Raises:
        InvalidSettings: the secret is missing or malformed.
    """
    if os.environ.get("JWT_SECRET_KEY") or not is_embedded():
        return _load(TokenSettings)
    secret = _embedded_secret(load_pipeline_settings().engarde_home)
    return _load(TokenSettings, jwt_secret_key=secret)


def load_login_settings() -> LoginSettings:
    """Return the settings of the login to the pages.

    Raises:
        InvalidSettings: variables are missing or malformed.
    """
    return _load(LoginSettings)


def load_api_settings() -> ApiSettings:
    """Return the settings of the API, from the environment or the embedded default; raises as `load_settings`."""
    if not is_embedded():
        return _load(ApiSettings)
    values = _running_services()
    if not os.environ.get("JWT_SECRET_KEY"):
        values["jwt_secret_key"] = _embedded_secret(load_pipeline_settings().engarde_home)
    return _load(ApiSettings, **values)


def _running_services() -> dict[str, str]:
    file = services_file(load_pipeline_settings().engarde_home)
    try:
        services: dict[str, str] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        raise EmbeddedDefaultNotRunning(
            "The embedded default is not running. It is used because no variable of BigQuery or Postgres is set"
            f" and {file.parent} contains sample data. Start it with `engarde dev` (or `make dev`), or set"
            " BIGQUERY_PROJECT_ID and DATABASE_URL to use real servers."
        ) from None
    return {name.lower(): value for name, value in services.items()}


def _embedded_secret(home: Path) -> str:
    """Return the secret of the embedded default; the first call creates its file, readable only by this user."""
    file = home / "jwt_secret_key"
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return file.read_text()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secrets.token_urlsafe(MINIMUM_SECRET_BYTES))
    return file.read_text()


def embedded_data(home: Path) -> Path:
    """Return the data directory of the embedded Postgres, which `engarde dev` and `demo` create."""
    return home / "postgres"


def services_file(home: Path) -> Path:
    """Return the file that lists the addresses of the running local servers, as environment variables."""
    return home / "services.json"


def first_date_file(home: Path) -> Path:
    """Return the file with the first date of the sample data, the first partition of the embedded default."""
    return home / "first_date"


def check_environment() -> None:
    """Check the environment variables, so that a code location with invalid ones fails when it loads.

    Raises:
        InvalidSettings: variables are missing or malformed.
    """
    # The servers of the embedded default may start later.
    load_pipeline_settings() if is_embedded() else load_settings()


def require(settings: type[PipelineSettings], names: Iterable[str] = ()) -> None:
    """Check that the environment has the variables of `settings` and `names`; there are no default servers.

    Raises:
        InvalidSettings: variables are missing or malformed; the message names all of them.
    """
    lines = []
    try:
        settings()
    except ValidationError as error:
        lines = _faults(settings, error)
    known = {field.upper() for field in settings.model_fields}
    lines += [
        f"  {name}: is missing. The files in DAGSTER_HOME refer to it."
        for name in sorted(set(names) - known)
        if not os.environ.get(name)
    ]
    if lines:
        raise InvalidSettings("\n".join([_HEADING, *lines]))


def unknown_variables() -> dict[str, str]:
    """Return the environment variables that look like mistyped ones of the pipeline, with what they resemble."""
    known = {name.upper() for settings in _ALL_SETTINGS for name in settings.model_fields}
    similar = {
        name: difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR)
        for name in os.environ
        if name.startswith(_PREFIXES) and name not in known
    }
    return {name: meant[0] for name, meant in similar.items() if meant}


def _load(settings: type[_S], **values: str) -> _S:
    values = {**_embedded_first_date(), **values}
    known = tuple((name, value) for name, value in values.items() if name in settings.model_fields)
    try:
        parsed: _S = _parsed(settings, known, tuple(os.environ.items()))
    except ValidationError as error:
        raise InvalidSettings(_message(settings, error)) from None
    return parsed


def _embedded_first_date() -> dict[str, str]:
    """Return the first date of the embedded default, the same for every command and for the Dagster UI."""
    if os.environ.get("ENGARDE_FIRST_DATE") or not is_unconfigured():
        return {}
    home = Path(os.environ.get("ENGARDE_HOME") or PipelineSettings.model_fields["engarde_home"].default)
    try:
        return {"engarde_first_date": first_date_file(home).read_text().strip()}
    except OSError:
        return {}


# A run loads its settings for each connection; parsing them takes milliseconds.
@lru_cache(maxsize=16)
def _parsed(
    settings: type[_S], values: tuple[tuple[str, str], ...], _environment: tuple[tuple[str, str], ...]
) -> _S:
    return settings(**dict(values))  # type: ignore[arg-type]


def _message(settings: type[BaseSettings], error: ValidationError) -> str:
    lines = [_HEADING, *_faults(settings, error)]
    if is_unconfigured() and issubclass(settings, DatabaseSettings | ApiSettings):
        lines.append("To try the pipeline with sample data instead, run `engarde demo` or `engarde dev`.")
    return "\n".join(lines)


def _faults(settings: type[BaseSettings], error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0])
        problem = _PROBLEMS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        lines.append(f"  {name.upper()}: {problem}. {settings.model_fields[name].description}")
    return lines
