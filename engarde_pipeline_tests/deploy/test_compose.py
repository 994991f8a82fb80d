"""deploy/compose.yaml: what Docker Compose makes of it."""

import re
from pathlib import Path

import pytest

from engarde_pipeline.settings import LoginSettings
from engarde_pipeline_tests.deploy.compose import DEPLOY, LOGIN, MONITORING, REQUIRED, run_compose, services

_DAGSTER = {"DAGSTER_DATABASE_URL"}
_WORKSPACE = {"ENGARDE_CODE_SERVER_HOST", "ENGARDE_CODE_SERVER_PORT"}
_BROKER = {"ENGARDE_BROKER_URL"}
_DATES = {"ENGARDE_FIRST_DATE", "ENGARDE_RESTATEMENT_DAYS"}
_SYNC = {"DATABASE_URL", *_DATES, "BIGQUERY_PROJECT_ID", "BIGQUERY_DATASET_ID", "BIGQUERY_LOCATION"}
_SYNC |= {"BIGQUERY_CREDENTIALS_JSON", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"}

VARIABLES = {
    "init": set(),
    "migrate": {"DATABASE_URL"},
    "grants": {"DATABASE_URL"},
    "grants-api": {"DATABASE_URL"},
    "grants-exporter": {"DATABASE_URL"},
    "sample-data": _SYNC - _DATES,
    "migrate-dagster": _DAGSTER | _BROKER,
    "code-server": _DAGSTER | _BROKER | _SYNC,
    "worker": _DAGSTER | _BROKER | _SYNC,
    "webserver": _DAGSTER | _BROKER | _WORKSPACE,
    "daemon": _DAGSTER | _BROKER | _WORKSPACE,
    "exporter": {*_DAGSTER, *_BROKER, "DATABASE_URL", "ENGARDE_FIRST_DATE", "ENGARDE_WEBSERVER_URL"},
    "api": {*_DAGSTER, "API_DATABASE_URL", "JWT_SECRET_KEY", "ENGARDE_WEBSERVER_URL", *_DATES},
}
"""The variables of each process, without those of alerts, the log and the API's options."""

_OPTIONS = re.compile(
    "ENGARDE_ALERT_|ENGARDE_DAGSTER_URL|ENGARDE_LOG_FORMAT|OTEL_|API_CORS_ORIGINS|API_RATE_LIMIT|API_PUBLIC_URL|OIDC_"
)


def test_docker_compose_accepts_the_files() -> None:
    for login, monitoring in ((False, False), (True, False), (False, True), (True, True)):
        variables = {**REQUIRED, **LOGIN, **MONITORING}
        said = run_compose(variables, "config", "--quiet", login=login, monitoring=monitoring)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable_is_named(name: str) -> None:
    others = {other: value for other, value in REQUIRED.items() if other != name}
    for variables in (others, {**others, name: ""}):
        said = run_compose(variables, "config", "--quiet")
        assert said.returncode != 0
        assert f"{name} is missing a value: set it in the env file" in said.stderr


@pytest.mark.parametrize("name", LOGIN)
def test_a_missing_variable_of_the_login_is_named(name: str) -> None:
    said = run_compose({**REQUIRED, **LOGIN, name: ""}, "config", "--quiet", login=True)
    assert said.returncode != 0
    assert f"{name} is missing a value" in said.stderr


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {
        name for file in DEPLOY.glob("compose*.yaml") for name in re.findall(r"(?<!\$)\$\{(\w+)", file.read_text())
    }
    named = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE)
    assert sorted(named) == sorted({*used, "COMPOSE_PROFILES"})


def test_the_example_has_no_value_for_what_is_secret_or_required() -> None:
    lines = (DEPLOY / "example.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match("[A-Z]", line))
    assert not [
        name
        for name in values
        if name in {*REQUIRED, *LOGIN, *MONITORING} - {"ENGARDE_DAGSTER_URL"} and values[name]
    ]


@pytest.mark.parametrize("name", VARIABLES)
def test_a_process_gets_only_its_variables(name: str) -> None:
    given = services()[name].get("environment") or {}
    assert {variable for variable in given if not _OPTIONS.match(variable)} == VARIABLES[name]
    assert ("ENGARDE_ALERT_SLACK_URL" in given) == (name == "code-server")
    login = {field.upper() for field in LoginSettings.model_fields}
    assert login & given.keys() == (login if name == "api" else set())


def test_a_password_reaches_only_the_processes_that_use_it() -> None:
    """By value, so that none hides in another variable, a command or a health check."""
    holders = {
        variable: {name for name, service in services().items() if value in str(service)}
        for variable, value in REQUIRED.items()
    }
    assert holders == {
        "POSTGRES_PASSWORD": {"postgres"},
        "OWNER_PASSWORD": {"postgres", "migrate", "grants", "grants-api", "grants-exporter", "sample-data"},
        "PIPELINE_PASSWORD": {"postgres", "code-server", "worker"},
        "API_PASSWORD": {"postgres", "api"},
        "DAGSTER_PASSWORD": {
            *("postgres", "migrate-dagster", "code-server", "worker", "webserver", "daemon", "api", "exporter")
        },
        "EXPORTER_PASSWORD": {"postgres", "exporter"},
        "REDIS_PASSWORD": {
            *("redis", "migrate-dagster", "code-server", "worker", "webserver", "daemon", "exporter")
        },
        "JWT_SECRET_KEY": {"api"},
        "BIGQUERY_PROJECT_ID": {"code-server", "worker", "sample-data"},
    }


def test_no_secret_is_an_argument_of_a_process() -> None:
    for name, service in services(login=True, monitoring=True).items():
        arguments = str([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert not [
            variable for variable, value in {**REQUIRED, **LOGIN, **MONITORING}.items() if value in arguments
        ], name


def test_every_process_is_locked_down() -> None:
    for name, service in services(login=True, monitoring=True).items():
        assert service.get("read_only") or name == "bigquery", name  # the emulator, which holds sample data
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("cap_add"), name
        assert not service.get("privileged"), name


def test_ports_are_published_on_this_machine_only() -> None:
    assert {name for name, service in services().items() if service.get("ports")} == {"webserver", "api"}
    # With the login, the UI is reached through it only.
    assert {name for name, service in services(login=True).items() if service.get("ports")} == {"login", "api"}
    for service in services(monitoring=True).values():
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}


def test_postgres_and_redis_are_on_no_network_that_leads_elsewhere() -> None:
    for name in ("postgres", "redis"):
        assert list(services()[name]["networks"]) == ["data"]


def test_credentials_keep_every_character() -> None:
    key = r'{"private_key": "-----BEGIN\nabc$def\\n#=\n"}'
    found = services(BIGQUERY_CREDENTIALS_JSON=key)["worker"]["environment"]["BIGQUERY_CREDENTIALS_JSON"]
    assert found.replace("$$", "$") == key


def test_every_file_that_a_service_mounts_exists() -> None:
    binds = [
        v
        for service in services(monitoring=True).values()
        for v in service.get("volumes", ())
        if v["type"] == "bind"
    ]
    assert binds
    assert all(bind["read_only"] for bind in binds)
    missing = {Path(bind["source"]).name for bind in binds if not Path(bind["source"]).exists()}
    assert missing == {"alertmanager-secrets"}  # which have no place in a repository
