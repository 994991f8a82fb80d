"""The command line: it teaches, does what it says, and its exit code tells a script how it went."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from dagster import DagsterInstance, RunsFilter
from sqlalchemy.engine import make_url

from engarde_pipeline.cli import app
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.runs.job_log import list_jobs
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.cli.refusing_postgres import refusing_postgres
from engarde_pipeline_tests.world import ASSET_METRICS, World

DAY = today() - timedelta(days=2)
NEXT = DAY + timedelta(days=1)
PASSWORD = "hunter2-the-password"  # noqa: S105  the secret that must never be shown
Environment = Callable[..., None]


@pytest.fixture
def tenant(configured: World) -> UUID:
    """A tenant with the campaigns c1 and c2, whose numbers for two dates are in BigQuery."""
    tenant = configured.tenant()
    for campaign in ("c1", "c2"):
        configured.campaign(tenant, campaign)
    configured.load([_row(tenant, campaign, day) for campaign in ("c1", "c2") for day in (DAY, NEXT)])
    return tenant


def _row(tenant: UUID, campaign: str, day: date = DAY, **columns: Any) -> dict[str, Any]:
    return {
        "tenant_id": str(tenant),
        "campaign_id": campaign,
        "platform": "meta",
        "metric_date": day,
        "impressions": 1_000,
        "spend": 1_234_567.5,
        **columns,
    }


def _range(start: date = DAY, end: date = NEXT) -> tuple[str, ...]:
    return "--start", start.isoformat(), "--end", end.isoformat()


def _counts(out: str) -> dict[str, list[int]]:
    """The table of counts: each line's label and its numbers."""
    cells = ([cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line)
    return {label: [int(number.replace(",", "")) for number in numbers] for label, *numbers in cells}


# Help


@pytest.mark.parametrize(
    ("command", "teaches"),
    [
        ([], "To start: engarde demo"),
        (["sync"], "Examples: engarde sync --start 2026-11-01 --end 2026-11-07"),
        (["sync"], "no date is marked as synced"),
        (["status"], "by default 30 days"),
        (["doctor"], "one line per check and, if a check fails, how to fix it"),
        (["db"], "a downgrade removes only what an upgrade created"),
        (["db", "upgrade"], "default: the newest"),
        (["db", "downgrade"], "removes all the pipeline created, including synced data"),
        (["db", "current"], "the newest revision"),
        (["demo"], "To start over, delete .engarde/"),
        (["dev"], "Ctrl-C"),
        (["page"], "In production, people log in with OpenID Connect at API_PUBLIC_URL"),
        (["jobs"], "why one failed"),
        (["init"], "A file that exists with another content is kept"),
        (["code-server"], "the rest is synced by their retries"),
        (["daemon"], "exactly one must run"),
        (["ui"], "It has no login"),
        (["worker"], "On SIGTERM it takes no more runs"),
        (["db", "grants"], "--for"),
        (["api"], "If no server is configured, the API uses the sample data"),
        (["api", "token"], "signed with JWT_SECRET_KEY"),
    ],
)
def test_help_teaches(engarde: Engarde, command: list[str], teaches: str) -> None:
    said = engarde(*command, "--help")
    assert said.code == 0
    assert teaches in said.words


def test_the_version_is_the_one_in_pyproject(engarde: Engarde) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    said = engarde("--version")
    assert (said.code, said.out) == (0, f"engarde-pipeline {project['version']}\n")


def _commands(group: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of a command and of all commands below it."""
    yield names
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, *names, name)


def test_h_shows_the_help_of_every_command_in_words_and_in_80_columns(engarde: Engarde) -> None:
    commands = list(_commands(typer.main.get_command(app)))
    assert ("db", "downgrade") in commands
    for command in commands:
        said = engarde(*command, "-h", width=80)
        assert said.code == 0
        assert f"engarde {' '.join(command)}".strip() in said.words
        assert max(map(len, said.out.splitlines())) <= 80
        unexplained = re.findall(r"%Y|--.*<(?:bool|str|int|path|uuid|list)|rule \d", said.out)
        assert not unexplained, said.out


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "engarde_pipeline.cli", "sync", "--help"]
    assert b"--allow-shrink" in subprocess.run(command, check=True, capture_output=True).stdout


# engarde sync


def test_a_sync_lands_its_dates_and_prints_what_it_did(engarde: Engarde, configured: World, tenant: UUID) -> None:
    said = engarde("sync", *_range())
    assert said.code == 0
    assert "succeeded" in said.words
    assert {label: numbers[0] for label, numbers in _counts(said.out).items()} == {
        "dates": 2,
        "processed": 4,
        "inserted": 4,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "rejected": 0,
    }
    assert len(configured.rows()) == 4


def test_a_sync_brings_the_totals_up_to_date(engarde: Engarde, configured: World, tenant: UUID) -> None:
    engarde("sync", *_range())
    (row,) = configured.query("SELECT DISTINCT total_impressions FROM campaign_spaces")
    assert row["total_impressions"] == 2_000


@pytest.mark.long
def test_a_second_sync_changes_nothing(engarde: Engarde, configured: World, tenant: UUID) -> None:
    engarde("sync", *_range())
    before = configured.rows()
    counts = _counts(engarde("sync", *_range()).out)
    assert counts["unchanged"][0] == counts["processed"][0] == 4
    assert configured.rows() == before


def test_both_tables_are_counted_apart(engarde: Engarde, configured: World, tenant: UUID) -> None:
    (campaign,) = configured.query("SELECT id FROM campaign_spaces WHERE external_campaign_id = 'c1'")
    configured.asset(campaign["id"], "a1")
    configured.load(
        [{"campaign_id": "c1", "asset_id": "a1", "platform": "meta", "metric_date": DAY}], ASSET_METRICS
    )
    assert _counts(engarde("sync", *_range(DAY, DAY)).out)["inserted"] == [2, 1]


def test_a_rejected_record_is_counted_and_its_reason_and_cure_shown(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    configured.load([_row(tenant, "unknown")])
    said = engarde("sync", *_range(DAY, DAY))
    assert said.code == 0
    assert _counts(said.out)["rejected"][0] == 1
    assert f"1 of campaign_metrics: campaign_not_mapped ({DAY})" in said.words
    assert "connect the campaign in the application" in said.words


def test_a_date_that_would_shrink_fails_alone_and_the_exit_code_says_so(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    engarde("sync", *_range())
    configured.replace(NEXT, [])
    said = engarde("sync", *_range())
    assert said.code == 1
    assert f"1 of 2 dates did not land: {NEXT}. The others are synced." in said.words
    assert "--allow-shrink" in said.words
    assert _counts(said.out)["dates"][0] == 1
    assert len(configured.rows()) == 4


def test_a_date_may_shrink_where_that_is_said(engarde: Engarde, configured: World, tenant: UUID) -> None:
    engarde("sync", *_range())
    configured.replace(NEXT, [])
    said = engarde("sync", *_range(), "--allow-shrink")
    assert said.code == 0
    assert _counts(said.out)["deleted"][0] == 2


def test_a_date_that_was_loaded_twice_is_held_until_that_is_allowed(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    rows = [
        {
            "tenant_id": str(tenant),
            "campaign_id": f"x{n}",
            "platform": "meta",
            "metric_date": NEXT,
            "clicks": n + 1,
        }
        for n in range(50)
    ]
    configured.load(rows * 2)
    said = engarde("sync", *_range())
    assert said.code == 1
    assert f"1 of 2 dates did not land: {NEXT}" in said.words
    assert "--allow-growth" in said.words
    days = str((today() - NEXT).days + 2)
    assert "campaign_metrics: 1 held" in engarde("status", "--days", days).words

    assert engarde("sync", *_range(), "--allow-growth").code == 0

    assert "held" not in engarde("status", "--days", days).words


def test_a_missing_table_fails_with_the_cure(engarde: Engarde, configured: World) -> None:
    said = engarde("sync", *_range())
    assert said.code == 1
    assert f"{configured.dataset}.campaign_metrics. Check BIGQUERY_PROJECT_ID" in said.words
    assert "run the same command again" in said.words


def test_a_sync_into_a_database_that_is_not_migrated_names_the_command(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    migrate.downgrade(configured.database_url, "base")
    said = engarde("sync", *_range())
    assert said.code == 1
    assert "Run `engarde db upgrade`" in said.words


@pytest.mark.parametrize(
    ("dates", "explained"),
    [
        (_range(NEXT, DAY), f"The end date {DAY} is before the start date {NEXT}. Swap them."),
        (_range(DAY, latest_date() + timedelta(days=1)), "is in the future"),
        (_range(date(2025, 12, 31), DAY), "or set ENGARDE_FIRST_DATE to an earlier date"),
        (("--start", "01.02.2026", "--end", "2026-02-03"), "'01.02.2026' is not a date. Write it as 2026-11-01"),
        (("--start", "-3d", "--end", "2026-02-30"), "today, yesterday or -7d (seven days ago)"),
        (("--end", "2026-02-01"), "Missing option '--start'"),
    ],
)
def test_dates_that_make_no_sense_are_a_wrong_call(
    engarde: Engarde, configured: World, dates: tuple[str, ...], explained: str
) -> None:
    said = engarde("sync", *dates)
    assert said.code == 2
    assert explained in said.words


def test_dates_for_which_bigquery_has_no_rows_are_named_and_no_failure(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    said = engarde("sync", "--start", "-2d")
    assert said.code == 0
    assert _counts(said.out)["dates"][0] == 3
    assert f"Warning: BigQuery has no rows in campaign_metrics for {today()}." in said.words

    said = engarde("sync", "--start", "-20d", "--end", "-11d")
    assert said.code == 0
    first, last = (today() - timedelta(days=n) for n in (20, 11))
    assert f"BigQuery has no rows in campaign_metrics for {first} .. {last}." in said.words
    assert not _counts(said.out)


def test_its_run_is_one_of_the_code_location_and_is_not_retried(
    engarde: Engarde, instance: DagsterInstance, configured: World, tenant: UUID
) -> None:
    engarde("sync", *_range())
    configured.replace(NEXT, [])
    assert engarde("sync", *_range()).code == 1

    # The timeline and the pages of jobs select runs by this tag.
    runs = instance.get_runs(RunsFilter(tags={".dagster/repository": "__repository__@engarde_pipeline"}))
    assert [(run.job_name, run.status.value) for run in runs] == [
        ("performance_sync", "FAILURE"),
        ("performance_sync", "SUCCESS"),
    ]
    assert [job.status for job in list_jobs(instance, 2)] == ["failed", "completed"]


# Slices


@pytest.mark.parametrize("narrowed", [["--campaign", "c1"], ["--campaign", "c1", "--platform", "meta"]])
def test_a_slice_replaces_just_that_slice(
    engarde: Engarde, configured: World, tenant: UUID, narrowed: list[str]
) -> None:
    said = engarde("sync", *_range(DAY, DAY), *narrowed)
    assert said.code == 0
    assert _counts(said.out)["inserted"] == [1]
    assert [row["metric_date"] for row in configured.rows()] == [DAY]


def test_a_slice_can_be_several_campaigns_by_either_id(engarde: Engarde, configured: World, tenant: UUID) -> None:
    (space,) = configured.query("SELECT id FROM campaign_spaces WHERE external_campaign_id = 'c2'")
    said = engarde("sync", *_range(DAY, DAY), "--campaign", "c1", "--campaign", space["id"])
    assert _counts(said.out)["inserted"] == [2]


def test_a_tenants_slice_leaves_other_tenants_alone(engarde: Engarde, configured: World, tenant: UUID) -> None:
    other = configured.tenant("Other")
    configured.campaign(other, "c1")
    configured.load([_row(other, "c1")])
    said = engarde("sync", *_range(DAY, DAY), "--tenant", "other")
    assert said.code == 0
    assert [row["tenant_id"] for row in configured.rows()] == [other]


def test_a_slice_marks_no_date_as_synced(engarde: Engarde, tenant: UUID) -> None:
    engarde("sync", *_range(DAY, DAY), "--campaign", "c1")
    assert "campaign_metrics: 3 missing." in engarde("status", "--days", 3).words


@pytest.mark.parametrize(
    ("narrowed", "explained"),
    [
        (["--campaign", "nope"], "has the id nope"),
        (["--platform", "myspace"], "No campaign space is on the platform myspace. There are: meta."),
        (
            ["--tenant", "Acmee"],
            "There is no tenant 'Acmee' in Postgres; use the name or the uuid of a tenant. Similar ones are:",
        ),
    ],
)
def test_a_slice_of_what_does_not_exist_says_what_there_is(
    engarde: Engarde, tenant: UUID, narrowed: list[str], explained: str
) -> None:
    said = engarde("sync", *_range(DAY, DAY), *narrowed)
    assert said.code == 1
    assert explained in said.words
    assert "There has been no sync yet" in engarde("jobs").words  # no run was created


# engarde status


def test_status_before_the_first_sync_says_how_to_start(engarde: Engarde, tenant: UUID) -> None:
    said = engarde("status", "--days", 2)
    assert said.code == 1
    assert "campaign_metrics: 2 missing. campaign_asset_metrics: 2 missing." in said.words
    overdue = f"{today() - timedelta(days=29)} .. {today() - timedelta(days=1)}"
    assert f"should have been synced automatically: {overdue}." in said.words
    assert "There has been no run yet. Start one with `engarde sync`" in said.words


def test_status_shows_what_is_synced_and_what_is_missing(engarde: Engarde, tenant: UUID) -> None:
    engarde("sync", *_range(DAY, DAY))
    said = engarde("status", "--days", 4, width=120)
    assert (
        "campaign_metrics: 3 missing, 1 provisional. campaign_asset_metrics: 3 missing, 1 no table." in said.words
    )
    (line,) = (line for line in said.out.splitlines() if line.strip().startswith(str(DAY)))
    assert "provisional" in line
    assert "2,469,135.00" in line


def test_status_tells_a_settled_date_from_a_provisional_one(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    old = today() - timedelta(days=40)
    configured.load([_row(tenant, "c1", old)])
    engarde("sync", *_range(old, old))
    said = engarde("status", "--days", 60)
    (line,) = (line for line in said.out.splitlines() if line.strip().startswith(str(old)))
    assert "complete" in line


def test_status_names_the_last_run_and_how_it_ended(engarde: Engarde, configured: World, tenant: UUID) -> None:
    engarde("sync", *_range(DAY, DAY))
    run_id = configured.rows()[0]["bigquery_sync_id"]
    said = engarde("status", "--days", 1)
    assert f"The last run, {run_id} (performance_sync), was created {today()}" in said.words
    assert "UTC: success." in said.words


def test_status_says_what_is_not_loaded_and_why(engarde: Engarde, configured: World, tenant: UUID) -> None:
    configured.load([_row(tenant, "unknown")])
    engarde("sync", *_range(DAY, DAY))
    assert "campaign_not_mapped" in engarde("status", "--days", 4).words


@pytest.mark.long
@pytest.mark.parametrize("command", [("sync", *_range()), ("status", "--days", "4")], ids=["sync", "status"])
@pytest.mark.parametrize("width", [80, pytest.param(120, marks=pytest.mark.long)])
def test_nothing_is_cut_off_on_a_terminal(
    engarde: Engarde, configured: World, tenant: UUID, command: tuple[str, ...], width: int
) -> None:
    configured.load([_row(tenant, "unknown")])
    engarde("sync", *_range())
    out = engarde(*command, width=width).out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--start", "today", "--output", "x", "--format", "xml"),
        ("doctor", "--for", "xml"),
        ("db", "grants", "--role", "x", "--for", "xml"),
    ],
)
def test_a_mistyped_choice_is_refused_with_the_choices_in_plain_words(
    engarde: Engarde, arguments: tuple[str, ...]
) -> None:
    said = engarde(*arguments, width=200)
    assert said.code == 2
    assert "Value error" not in said.words
    assert ": 'xml' is not one of '" in said.words


# engarde doctor


def test_doctor_names_variables_that_look_mistyped(
    engarde: Engarde, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENGARDE_WRITER", "BIGQUERY_PROJECT", "ENGARDE_IMAGE"):  # the last is one of Docker Compose
        monkeypatch.setenv(name, "3")
    said = engarde("doctor", width=200)
    assert said.code == 0
    assert (
        "ENGARDE_WRITER is no variable of the pipeline and has no effect; did you mean ENGARDE_WRITERS?"
        in said.words
    )
    assert "did you mean BIGQUERY_PROJECT_ID?" in said.words
    assert "ENGARDE_IMAGE" not in said.words


def test_doctor_finds_nothing_to_mend(engarde: Engarde, tenant: UUID) -> None:
    said = engarde("doctor")
    assert said.code == 0
    assert "✗" not in said.out
    assert said.out.count("✓") == 12
    assert "All checks passed" in said.words


def test_doctor_says_what_a_dagster_home_of_ones_own_leaves_off_and_its_cure_works(
    engarde: Engarde, tenant: UUID
) -> None:
    own = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    own.unlink()
    said = engarde("doctor", width=300)
    assert said.code == 0
    off = "run retries, run monitoring, tick retention, retries of schedule ticks, the history in Postgres"
    assert f"these are off: {off}." in said.words
    assert not own.exists()

    # The terminal breaks the line between the words of the command where the paths are long.
    command = shlex.split(said.words.partition("Run: ")[2])[: len(["cp", "source", "target"])]
    subprocess.run(command, check=True)
    assert "run retries, run monitoring, the run queue and tick retention are on" in engarde("doctor").words


@pytest.mark.long
def test_doctor_names_an_earlier_history_in_sqlite_and_what_to_do_with_it(
    engarde: Engarde, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.delenv("DAGSTER_DATABASE_URL")
        assert engarde("sync", *_range()).code == 0
        said = engarde("doctor", width=400)
        assert "Dagster's history is stored in SQLite" in said.words
        assert "set DAGSTER_DATABASE_URL to its address" in said.words

    said = engarde("doctor", width=400)

    assert "has earlier runs in SQLite (1), which are not shown" in said.words
    home = Path(os.environ["DAGSTER_HOME"])
    for directory in ("history", "schedules"):
        shutil.rmtree(home / directory)
    assert "earlier runs" not in engarde("doctor").words


def test_doctor_says_how_it_reads(engarde: Engarde, tenant: UUID, environment: Environment) -> None:
    assert "through the Storage Read API" in engarde("doctor").words
    environment(BIGQUERY_STORAGE_EMULATOR_HOST="")
    assert "by a query; for the faster and cheaper Storage Read API" in engarde("doctor").words


def _only_fault(engarde: Engarde) -> str:
    """The only check that fails."""
    said = engarde("doctor")
    assert said.code == 1
    assert said.out.count("✗") == 1, said.out
    assert "Failed checks: 1." in said.words
    return said.words.partition("✗")[2]


def test_doctor_names_a_missing_table_once(engarde: Engarde, configured: World) -> None:
    fault = _only_fault(engarde)
    assert f"BigQuery has no table engarde-tests.{configured.dataset}.campaign_metrics" in fault


def test_doctor_names_every_faulty_column(engarde: Engarde, configured: World) -> None:
    configured.create_source(without=["clicks"], spend="INT64")
    fault = _only_fault(engarde)
    assert "column clicks is missing; expected INT64" in fault
    assert "column spend has type INT64" in fault


def test_doctor_checks_the_optional_table_where_it_is_there(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    configured.create_source(ASSET_METRICS, without=["engagements"])
    assert "column engagements is missing" in _only_fault(engarde)


def test_doctor_names_the_command_that_migrates(engarde: Engarde, configured: World, tenant: UUID) -> None:
    migrate.downgrade(configured.database_url, "base")
    assert "Run `engarde db upgrade`" in _only_fault(engarde)


def test_doctor_says_that_the_password_is_wrong(engarde: Engarde, tenant: UUID, environment: Environment) -> None:
    with refusing_postgres() as address:
        environment(DATABASE_URL=f"postgresql://writer:{PASSWORD}@{address}/app")
        fault = _only_fault(engarde)
    assert 'password authentication failed for user "writer"' in fault
    assert "Check DATABASE_URL" in fault


def test_doctor_says_that_no_server_answers(engarde: Engarde, tenant: UUID, environment: Environment) -> None:
    environment(DATABASE_URL="postgresql://writer@127.0.0.1:9/app")
    assert "Connection refused" in _only_fault(engarde)


@pytest.fixture
def role(configured: World, environment: Environment) -> str:
    """A role without any privilege, with a name that needs quotes, as which the pipeline then connects."""
    role = f"writer-{uuid4().hex}"
    configured.connection.execute(f'CREATE ROLE "{role}" LOGIN')
    environment(DATABASE_URL=make_url(configured.database_url).set(username=role).render_as_string(False))
    return role


def test_doctor_gives_the_grants_that_a_role_lacks_and_they_cure_it(
    engarde: Engarde, configured: World, tenant: UUID, role: str
) -> None:
    configured.connection.execute("GRANT SELECT ON engarde_alembic_version TO PUBLIC")
    grants = [line.strip() for line in engarde("doctor", width=200).out.splitlines() if "GRANT" in line]
    assert f'GRANT SELECT, UPDATE ON campaign_spaces TO "{role}";' in grants

    for grant in grants:
        configured.connection.execute(grant)

    assert engarde("doctor").code == 0
    assert engarde("sync", *_range()).code == 0


def test_doctor_names_settings_that_are_missing(
    engarde: Engarde, configured: World, environment: Environment
) -> None:
    environment(BIGQUERY_PROJECT_ID="")
    assert "BIGQUERY_PROJECT_ID: is missing" in _only_fault(engarde)


# engarde db


def test_db_upgrade_makes_a_database_ready(
    engarde: Engarde, configured: World, empty_database_url: str, environment: Environment
) -> None:
    environment(DATABASE_URL=empty_database_url)
    assert "at revision none" in engarde("db", "current").words
    said = engarde("db", "upgrade")
    assert said.code == 0
    assert f"at revision {migrate.head()}; the newest is {migrate.head()}: up to date" in said.words
    with connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('campaign_metrics')").fetchone() != (None,)


def test_db_upgrade_again_changes_nothing(engarde: Engarde, configured: World, tenant: UUID) -> None:
    assert engarde("db", "upgrade").code == 0
    assert len(configured.query("SELECT * FROM campaign_spaces")) == 2


def test_what_postgres_refuses_is_a_message_with_the_cure(
    engarde: Engarde, configured: World, environment: Callable[..., None]
) -> None:
    role = f"reader_{uuid4().hex}"
    configured.connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    configured.connection.execute(f"GRANT SELECT ON {migrate.VERSION_TABLE} TO {role}".encode())
    try:
        url = make_url(configured.database_url).set(username=role)
        environment(DATABASE_URL=url.render_as_string(hide_password=False))

        said = engarde("status")

        assert said.code == 1
        assert "permission denied for table" in said.words
        assert "`engarde doctor` prints the GRANT" in said.words
        assert "Traceback" not in said.words
    finally:
        configured.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_db_downgrade_takes_the_pipelines_tables_away(engarde: Engarde, configured: World) -> None:
    said = engarde("db", "downgrade", "base")
    assert said.code == 0
    assert "run `engarde db upgrade`" in said.words
    assert configured.query("SELECT to_regclass('campaign_metrics') AS found") == [{"found": None}]


def test_db_downgrade_removes_numbers_only_if_that_is_confirmed(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    engarde("sync", *_range())
    said = engarde("db", "downgrade", "base")  # not on a terminal
    assert said.code == 1
    assert "campaign_metrics: 4 rows" in said.words
    assert "campaign_spaces: 2 rows" in said.words  # the migration has created it here
    assert "platform_days: 2 rows" in said.words
    assert "held_dates" not in said.words
    assert "Nothing was changed. To remove them, run the command with --yes." in said.words
    assert len(configured.rows()) == 4

    assert engarde("db", "downgrade", "base", "--yes").code == 0
    assert configured.query("SELECT to_regclass('campaign_metrics') AS found") == [{"found": None}]


@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
def test_a_revision_that_does_not_exist_is_named_with_the_newest(
    engarde: Engarde, configured: World, command: str
) -> None:
    said = engarde("db", command, "9999")
    assert said.code == 1
    assert "9999" in said.words
    assert f"The newest revision is {migrate.head()}." in said.words


def test_a_role_that_may_not_migrate_is_told_which_one_may(engarde: Engarde, configured: World, role: str) -> None:
    migrate.downgrade(configured.database_url, "base")
    said = engarde("db", "upgrade")
    assert said.code == 1
    assert "permission denied" in said.words
    assert "Migrate with the role that owns the application's tables." in said.words


# Errors and secrets


@pytest.mark.parametrize(
    "command", [("doctor",), ("status",), ("db", "current"), ("db", "upgrade"), ("sync", *_range())]
)
def test_a_database_that_cannot_be_reached_is_a_message_without_the_password(
    engarde: Engarde, tenant: UUID, environment: Environment, command: tuple[str, ...]
) -> None:
    environment(DATABASE_URL=f"postgresql://writer:{PASSWORD}@127.0.0.1:9/app")
    said = engarde(*command)
    assert said.code == 1
    assert "Cannot connect to Postgres at postgresql://writer:***@127.0.0.1:9/app" in said.words
    assert "Traceback" not in said.words
    assert PASSWORD not in said.words


@pytest.mark.parametrize(
    "variables",
    [
        {"DATABASE_URL": f"mysql://u:{PASSWORD}@host/app"},
        {"DATABASE_URL": PASSWORD},
        {"BIGQUERY_CREDENTIALS_JSON": f"{{{PASSWORD}"},
    ],
)
@pytest.mark.parametrize("command", ["doctor", "plan"])
def test_a_malformed_secret_is_named_and_not_shown(
    engarde: Engarde, configured: World, environment: Environment, variables: dict[str, str], command: str
) -> None:
    environment(**variables)
    said = engarde(command)
    assert said.code == 1
    assert next(iter(variables)) in said.words
    assert PASSWORD not in said.words


def test_a_sync_leaves_no_secret_in_its_output_or_in_dagsters_history(
    engarde: Engarde,
    configured: World,
    tenant: UUID,
    environment: Environment,
    tmp_path: Path,
    dagster_database_url: str,
) -> None:
    for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
        url = make_url(os.environ[name]).set(password=PASSWORD).render_as_string(False)
        environment(**{name: url})
    configured.load([_row(tenant, "unknown")])
    said = engarde("sync", *_range())
    assert said.code == 0
    assert PASSWORD not in said.words
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    with connect(dagster_database_url) as connection:
        for table in ("runs", "run_tags", "event_logs", "asset_keys", "asset_check_executions", "kvs"):
            written += [str(row) for row in connection.execute(f"SELECT * FROM {table}".encode())]
    assert any("campaign_not_mapped" in text for text in written)
    assert not [text for text in written if PASSWORD in text]
