"""Configuration: every variable that is needed and missing, or malformed, is named in one message."""

import json
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engarde_pipeline.bigquery.client import create_client
from engarde_pipeline.bigquery.errors import AccessDenied
from engarde_pipeline.core.dates import InvalidDates, requested_dates
from engarde_pipeline.settings import (
    CONNECTION_VARIABLES,
    ApiSettings,
    EmbeddedDefaultNotRunning,
    InvalidSettings,
    Settings,
    check_environment,
    embedded_data,
    first_date_file,
    is_embedded,
    is_unconfigured,
    load_api_settings,
    load_dagster_settings,
    load_database_settings,
    load_login_settings,
    load_pipeline_settings,
    load_settings,
    load_token_settings,
    services_file,
)

PASSWORD = "hunter2-the-password"  # noqa: S105  the secret that must never be shown
SECRET = "a secret of 32 bytes, and no less"  # noqa: S105
PRIVATE_KEY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
KEY = {
    "type": "service_account",
    "client_email": "sync@project.iam.gserviceaccount.com",
    "private_key": f"-----BEGIN PRIVATE KEY-----\n{PRIVATE_KEY}\n-----END PRIVATE KEY-----\n",
    "token_uri": "https://oauth2.googleapis.com/token",
}
VALID = {
    "BIGQUERY_PROJECT_ID": "project",
    "DATABASE_URL": f"postgresql://writer:{PASSWORD}@db.example.com:5432/app",
}
MALFORMED = [
    ("BIGQUERY_PROJECT_ID", "my project", "pattern"),
    ("BIGQUERY_PROJECT_ID", "p`; DROP", "pattern"),
    ("BIGQUERY_DATASET_ID", "engarde-analytics", "pattern"),
    ("BIGQUERY_DATASET_ID", "project.dataset", "pattern"),
    ("BIGQUERY_CREDENTIALS_JSON", "/secrets/key.json", "is not JSON; paste the whole service account key file"),
    ("BIGQUERY_CREDENTIALS_JSON", "eyJ0eXBlIjogIng", "not its path or base64"),
    ("BIGQUERY_CREDENTIALS_JSON", "[]", "is not a service account key"),
    ("BIGQUERY_CREDENTIALS_JSON", '{"type": "service_account"}', "client_email, private_key"),
    ("BIGQUERY_CREDENTIALS_JSON", json.dumps(KEY | {"private_key": ""}), "needs the fields"),
    ("BIGQUERY_EMULATOR_HOST", "localhost:9050", "must look like http://host:port"),
    ("BIGQUERY_EMULATOR_HOST", "http://localhost:9050/bigquery", "must look like http://host:port"),
    ("BIGQUERY_STORAGE_EMULATOR_HOST", "http://localhost:9060", "must look like host:port, without http://"),
    ("BIGQUERY_STORAGE_EMULATOR_HOST", "localhost", "must look like host:port"),
    ("DATABASE_URL", "writer:pw@db/app", "must look like postgresql://user:password@host:5432/database"),
    ("DATABASE_URL", "postgresql://writer:pw@db:port/app", "must look like postgresql://"),
    ("DATABASE_URL", "mysql://writer:pw@db/app", "must be a Postgres address"),
    ("ENGARDE_FIRST_DATE", "01.02.2026", "YYYY-MM-DD"),
    ("ENGARDE_SHRINK_THRESHOLD", "1.5", "less than or equal to 1"),
    ("ENGARDE_SHRINK_THRESHOLD", "nan", "A date is refused when"),
    ("ENGARDE_MAXIMUM_BYTES_BILLED", "0", "greater than 0"),
    ("ENGARDE_SOURCE_CODE_URL", "https://github.com/acme/engarde_pipeline", "/tree/branch"),
]


IN_AN_ENVIRONMENT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["", " ", "postgresql://", "postgresql://u:p@h:1:2/d", "http://", "-1", "1e999", "{}", "[", "\x1b[2J", "'; --"]
)


def _set(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("missing", VALID)
def test_a_missing_variable_is_named_with_what_it_is_for(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **{name: value for name, value in VALID.items() if name != missing})
    with pytest.raises(InvalidSettings, match=rf"  {missing}: is missing\. \w+"):
        load_settings()


@pytest.mark.parametrize(("name", "value", "cure"), MALFORMED)
def test_a_malformed_variable_is_named_with_the_cure(
    name: str, value: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, **{**VALID, name: value})
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    (fault,) = str(raised.value).splitlines()[1:]
    assert fault.startswith(f"  {name}: ")
    assert cure in fault


def test_a_fault_is_named_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"ENGARDE_WRITERS": "many", "ENGARDE_SHRINK_THRESHOLD": "half", "ENGARDE_FIRST_DATE": "soon"}
    _set(monkeypatch, **wrong)
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    for text in ("WRITERS: is not a whole number.", "THRESHOLD: is not a number.", "FIRST_DATE: is not a date."):
        assert text in str(raised.value)


def test_every_fault_is_named_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **{name: value for name, value, _ in MALFORMED if name != "BIGQUERY_PROJECT_ID"})
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    named = {line.split(":")[0].strip() for line in str(raised.value).splitlines()[1:]}
    assert named == {name for name, _, _ in MALFORMED}


@pytest.mark.parametrize("name", VALID)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **{**VALID, name: ""})
    with pytest.raises(InvalidSettings, match=f"{name}: is missing"):
        load_settings()


def test_an_empty_optional_variable_keeps_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = {name: "" for name in CONNECTION_VARIABLES if name not in VALID}
    _set(monkeypatch, **optional, ENGARDE_FIRST_DATE="", **VALID)
    settings = load_settings()
    assert settings.bigquery_dataset_id == "engarde_analytics"
    assert settings.bigquery_location == "US"
    assert settings.bigquery_credentials_json is None
    assert settings.engarde_first_date.isoformat() == "2020-01-01"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_usual_form_of_a_postgres_address_is_accepted(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, BIGQUERY_PROJECT_ID="project", DATABASE_URL=f"{scheme}://u:p@host:5432/app")
    assert load_settings().database_url.get_secret_value().startswith(f"{scheme}://")


def test_a_trailing_slash_of_the_emulators_address_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **VALID, BIGQUERY_EMULATOR_HOST="http://127.0.0.1:9050/")
    assert load_settings().bigquery_emulator_host == "http://127.0.0.1:9050"


# Secrets


@pytest.mark.parametrize("show", [str, repr, lambda settings: settings.model_dump_json()])
def test_settings_never_show_a_secret(show, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    _set(monkeypatch, **VALID, BIGQUERY_CREDENTIALS_JSON=json.dumps(KEY))
    shown = show(load_settings())
    assert PASSWORD not in shown
    assert PRIVATE_KEY not in shown


@pytest.mark.parametrize(
    "variables",
    [
        {"DATABASE_URL": f"mysql://u:{PASSWORD}@host/app"},
        {"DATABASE_URL": f"postgresql://u:{PASSWORD}@host:port/app"},
        {"DATABASE_URL": PASSWORD},
        {"BIGQUERY_CREDENTIALS_JSON": PRIVATE_KEY},
        {"BIGQUERY_CREDENTIALS_JSON": json.dumps({"private_key": PRIVATE_KEY})},
        {"BIGQUERY_CREDENTIALS_JSON": json.dumps(KEY)[:-1]},
    ],
)
def test_a_malformed_secret_is_shown_nowhere_in_the_traceback(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, **variables)
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert PASSWORD not in shown
    assert PRIVATE_KEY not in shown


def test_a_private_key_that_cannot_be_read_is_an_error_with_the_cure_and_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, **VALID, BIGQUERY_CREDENTIALS_JSON=json.dumps(KEY))
    with pytest.raises(AccessDenied, match="private_key in BIGQUERY_CREDENTIALS_JSON cannot be read") as raised:
        create_client(load_settings())
    assert PRIVATE_KEY not in "".join(traceback.format_exception(raised.value))


# The login with OpenID Connect

OIDC = {
    "OIDC_ISSUER": "https://login.example.com/realm/",
    "OIDC_CLIENT_ID": "page",
    "OIDC_CLIENT_SECRET": PASSWORD,
    "API_PUBLIC_URL": "https://metrics.example.com",
}


def test_without_variables_of_the_login_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_login_settings().oidc is None
    monkeypatch.setenv("API_PUBLIC_URL", OIDC["API_PUBLIC_URL"])  # alone, it is for the check of the origin
    assert load_login_settings().oidc is None


def test_the_login_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **VALID, JWT_SECRET_KEY=SECRET, **OIDC, OIDC_AUDIENCE="", OIDC_TENANT_CLAIM="")
    oidc = load_api_settings().oidc
    assert oidc is not None
    assert (oidc.issuer, oidc.public_url) == (OIDC["OIDC_ISSUER"], OIDC["API_PUBLIC_URL"])
    assert (oidc.audience, oidc.tenant_claim) == ("page", "tenant_ids")
    assert PASSWORD not in repr(oidc)


@pytest.mark.parametrize("given", [name for name in OIDC if name.startswith("OIDC")])
def test_a_login_that_lacks_variables_names_all_of_them(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **VALID, JWT_SECRET_KEY=SECRET, **{given: OIDC[given]})
    with pytest.raises(InvalidSettings) as raised:
        load_api_settings()
    missing = {line.split(":")[0].strip() for line in str(raised.value).splitlines()[1:]}
    assert missing == OIDC.keys() - {given}
    assert "is missing; OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and API_PUBLIC_URL" in str(raised.value)


@pytest.mark.parametrize("name", ["OIDC_ISSUER", "API_PUBLIC_URL"])
@pytest.mark.parametrize(
    "value",
    ["login.example.com", "http://login.example.com", "ftp://login.example.com", "https://", "https://a b",
     "https://user:pw@login.example.com", "https://login.example.com?x", "https://login.example.com#x"],
)  # fmt: skip
def test_the_addresses_of_a_login_are_those_of_https(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, **{**OIDC, name: value})
    with pytest.raises(InvalidSettings, match=rf"{name}: must look like https://.*on this machine only"):
        load_login_settings()


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://Metrics.Example.com/", "https://metrics.example.com"),
        ("https://metrics.example.com:443", "https://metrics.example.com"),
        ("https://metrics.example.com:8443", "https://metrics.example.com:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_the_public_address_is_compared_as_browsers_send_it(
    value: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PUBLIC_URL", value)
    assert load_login_settings().api_public_url == origin


# The embedded default


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that `engarde dev` or `demo` have left."""
    monkeypatch.setenv("ENGARDE_HOME", str(tmp_path))
    embedded_data(tmp_path).mkdir()
    return tmp_path


def test_with_nothing_set_the_embedded_default_is_meant_where_it_has_left_its_home(home: Path) -> None:
    assert is_unconfigured()
    assert is_embedded()


@pytest.mark.parametrize("load", [load_settings, load_database_settings, load_api_settings, check_environment])
def test_with_nothing_set_and_no_home_what_is_missing_is_named(
    load: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_HOME", str(tmp_path))
    (tmp_path / "dagster").mkdir()  # Dagster's history is no sample data
    with pytest.raises(InvalidSettings, match=r"DATABASE_URL: is missing(.|\n)*`engarde demo`"):
        load()


def test_the_api_needs_its_own_two_variables_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, JWT_SECRET_KEY=SECRET, API_DATABASE_URL="postgresql://engarde_api@db/app")
    settings = load_api_settings()
    assert (settings.api_login, settings.api_takes_role) == ("postgresql://engarde_api@db/app", False)


def test_an_api_without_a_login_or_a_secret_names_both(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "project")
    with pytest.raises(InvalidSettings) as raised:
        load_api_settings()
    assert "JWT_SECRET_KEY: is missing" in str(raised.value)
    assert "API_DATABASE_URL: is missing, and so is DATABASE_URL" in str(raised.value)


def test_the_api_starts_syncs_at_the_address_of_the_ui_unless_it_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, JWT_SECRET_KEY=SECRET, **VALID, ENGARDE_DAGSTER_URL="https://dagster.example.com/ui/")
    assert load_api_settings().webserver_url == "https://dagster.example.com/ui"
    monkeypatch.setenv("ENGARDE_WEBSERVER_URL", "http://webserver:3000")
    assert load_api_settings().webserver_url == "http://webserver:3000"


def test_what_uses_postgres_alone_asks_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", VALID["DATABASE_URL"])
    assert load_database_settings().database_url.get_secret_value() == VALID["DATABASE_URL"]


def test_a_token_takes_the_secret_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENGARDE_HOME", str(tmp_path))
    with pytest.raises(InvalidSettings, match="JWT_SECRET_KEY: is missing"):
        load_token_settings()
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    assert load_token_settings().jwt_secret_key.get_secret_value() == SECRET


@pytest.mark.parametrize("name", CONNECTION_VARIABLES)
def test_one_variable_about_the_servers_rules_the_embedded_default_out(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert not is_embedded()


def test_what_the_pipeline_does_can_be_set_beside_the_embedded_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_SHRINK_THRESHOLD", "0.1")
    assert is_embedded()
    assert load_pipeline_settings().engarde_shrink_threshold == 0.1


def test_the_embedded_default_has_one_first_date_for_every_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENGARDE_FIRST_DATE", raising=False)
    assert load_pipeline_settings().engarde_first_date == date(2020, 1, 1)
    first_date_file(home).write_text("2026-08-29\n")
    assert load_pipeline_settings().engarde_first_date == date(2026, 8, 29)
    with pytest.raises(InvalidDates, match="before the first partition, 2026-08-29"):
        requested_dates("2026-08-28", "2026-08-30")

    monkeypatch.setenv("ENGARDE_FIRST_DATE", "2026-01-01")
    assert load_pipeline_settings().engarde_first_date == date(2026, 1, 1)
    monkeypatch.delenv("ENGARDE_FIRST_DATE")
    _set(monkeypatch, **VALID)  # not the embedded default
    assert load_settings().engarde_first_date == date(2020, 1, 1)


def test_an_embedded_default_that_does_not_run_says_how_to_start_it(home: Path) -> None:
    with pytest.raises(EmbeddedDefaultNotRunning, match=r"`engarde dev`.*BIGQUERY_PROJECT_ID and\s+DATABASE_URL"):
        load_settings()


def test_the_running_servers_announcement_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_HOME", str(tmp_path))
    history = "postgresql://postgres@/dagster?host=/tmp/socket"
    announced = {**VALID, "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9050", "DAGSTER_DATABASE_URL": history}
    services_file(tmp_path).write_text(json.dumps(announced))
    assert load_settings().database_url.get_secret_value() == VALID["DATABASE_URL"]
    assert load_settings().bigquery_emulator_host == "http://127.0.0.1:9050"
    assert load_api_settings().api_login == VALID["DATABASE_URL"]
    assert load_database_settings().database_url.get_secret_value() == VALID["DATABASE_URL"]
    assert load_dagster_settings().dagster_database_url.get_secret_value() == history


def test_an_announcement_is_ignored_when_servers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, **VALID, ENGARDE_HOME=str(tmp_path))
    services_file(tmp_path).write_text(json.dumps({"BIGQUERY_PROJECT_ID": "sample"}))
    assert load_settings().bigquery_project_id == "project"


# What is checked when the code location loads


def test_definitions_load_with_nothing_set_where_the_embedded_default_has_left_its_home(home: Path) -> None:
    check_environment()


def test_definitions_do_not_load_with_half_of_the_servers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "project")
    with pytest.raises(InvalidSettings, match="DATABASE_URL: is missing"):
        check_environment()


def test_definitions_do_not_load_with_a_malformed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_MAXIMUM_BYTES_BILLED", "lots")
    with pytest.raises(InvalidSettings, match="ENGARDE_MAXIMUM_BYTES_BILLED"):
        check_environment()


@pytest.mark.long
@pytest.mark.parametrize("settings", [Settings, ApiSettings])
@given(data=st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_whatever_the_environment_holds_it_is_taken_or_named_and_no_secret_is_told(
    settings: type[Settings | ApiSettings], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.upper() for field in settings.model_fields]))
    value = data.draw(IN_AN_ENVIRONMENT, name)
    secret = f"{value}{PASSWORD}"
    load = load_api_settings if settings is ApiSettings else load_settings
    with pytest.MonkeyPatch.context() as patch:
        _set(patch, **{**VALID, "JWT_SECRET_KEY": "a secret of 32 bytes, and no less", name: secret})
        try:
            load()
        except InvalidSettings as error:
            said = f"{error}{''.join(traceback.format_exception(error))}"
            assert name in said
            if "SecretStr" in str(settings.model_fields[name.lower()].annotation):
                assert PASSWORD not in said
