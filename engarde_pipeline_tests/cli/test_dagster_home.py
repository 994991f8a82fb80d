"""DAGSTER_HOME: where it cannot be used, a command says so with the cure; the status shows what Postgres knows."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from engarde_pipeline.core.dates import today
from engarde_pipeline.runs.job_log import list_jobs
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.dagster_runs import run_range
from engarde_pipeline_tests.poolers import pgbouncer
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=2)
NO_SERVER = "storage: {postgres: {postgres_url: 'postgresql://u:hunter2@127.0.0.1:9/history'}}"


@pytest.mark.parametrize("command", [("status",), ("jobs",), ("sync", "--start", str(DAY), "--end", str(DAY))])
@pytest.mark.parametrize(
    ("home", "cure"),
    [
        ("dagster_home", "a relative path, which Dagster does not accept. Set the absolute path: DAGSTER_HOME="),
        ("{tmp}/nope", "does not exist. If it is misspelled, correct it"),
        ("{tmp}/file", "is not a directory"),
    ],
)
def test_a_home_that_names_no_directory_is_refused_with_the_cure(
    engarde: Engarde,
    configured: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    home: str,
    cure: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAGSTER_HOME", home.format(tmp=tmp_path))

    said = engarde(*command, width=300)

    assert said.code == 1
    assert cure in said.words
    assert "Traceback" not in said.words
    assert not (tmp_path / "nope").exists()  # a typo begins no history


@pytest.mark.parametrize(
    "configuration",
    [
        "storage: [",
        "run_retriess: {enabled: true}",
        "storage: {sqlite: {base_dir: {env: NOT_SET_ANYWHERE}}}",
        pytest.param(NO_SERVER, marks=pytest.mark.long),  # Dagster tries again for ten seconds
    ],
)
def test_a_configuration_that_dagster_cannot_use_is_a_message_without_secrets(
    engarde: Engarde, configured: World, tmp_path: Path, configuration: str
) -> None:
    (tmp_path / "dagster" / "dagster.yaml").write_text(configuration)

    said = engarde("jobs", width=300)

    assert said.code == 1
    assert str(tmp_path / "dagster") in said.words
    assert "Traceback" not in said.words
    assert "hunter2" not in said.words


def test_the_status_shows_what_postgres_knows_where_dagsters_history_is_another(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(DAY)
    assert run_range(instance, DAY, DAY).success
    (tmp_path / "another").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "another"))

    said = engarde("status", "--days", 5)

    assert (
        "campaign_metrics: 4 missing, 1 provisional. campaign_asset_metrics: 4 missing, 1 provisional."
        in said.words
    )
    assert "lacks dates that Postgres has: 1. Check that DAGSTER_HOME is the directory" in said.words


@pytest.mark.long
def test_a_failed_sync_of_the_command_line_has_failed_at_once(
    engarde: Engarde, instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(DAY)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")  # transient: nobody answers

    assert engarde("sync", "--start", DAY, "--end", DAY).code == 1

    (job,) = list_jobs(instance, 10)
    assert job.status == "failed"
    (run,) = instance.get_runs()
    assert run.status is DagsterRunStatus.FAILURE
    assert run.tags["dagster/will_retry"] == "false"


@pytest.mark.parametrize(
    "command",
    [("status",), ("plan",), ("doctor",), ("db", "upgrade"), ("api",), ("sync", "--start", DAY, "--end", DAY)],
)
def test_without_a_configuration_a_command_names_what_is_missing_and_starts_nothing(
    engarde: Engarde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)

    said = engarde(*command)

    assert said.code == 1
    assert "DATABASE_URL: is missing" in said.words
    assert list(tmp_path.iterdir()) == []


def test_a_migration_asks_for_nothing_but_the_database(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in configured.environment.keys() - {"DATABASE_URL"}:
        monkeypatch.delenv(name)
    assert engarde("db", "current").code == 0
    assert "Bytes read from BigQuery per day" in engarde("status", "--days", 1).words


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DAGSTER_DATABASE_URL"])
def test_the_doctor_refuses_a_pooler_in_transaction_mode(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with pgbouncer(os.environ[variable], "transaction") as pooler:
        monkeypatch.setenv(variable, pooler)
        checked = engarde("doctor", width=400)
        assert checked.code == 1
        name = "Postgres connection" if variable == "DATABASE_URL" else "Dagster's database"
        assert f"✗ {name}: {variable} is the address of a pooler in transaction" in checked.words
        assert "pool_mode = session" in checked.words
        # The first use says the same.
        used = engarde("jobs" if variable == "DAGSTER_DATABASE_URL" else "status", width=400)
        assert (used.code, "pool_mode = session" in used.words) == (1, True)


def test_the_doctor_reports_a_history_that_cannot_be_reached(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:9/history")
    checked = engarde("doctor", width=400)
    assert checked.code == 1
    assert "✗ Dagster's database: Cannot connect to Postgres at postgresql://u:***@127.0.0.1:9" in checked.words
    assert "✗ Dagster instance: Dagster's history cannot be used" in checked.words
    assert "hunter2" not in checked.words
