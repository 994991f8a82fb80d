"""The processes of a deployment: what they need, how their health is checked, and what they do at SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus
from sqlalchemy.engine import make_url

from engarde_pipeline.core.dates import dates_between, today
from engarde_pipeline.defs.interruption import SECONDS_TO_FINISH
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema.migrate import VERSION_TABLE
from engarde_pipeline_tests.cli.deployment import ENGARDE, Deployment, documented_variables
from engarde_pipeline_tests.dagster_runs import landed_dates, unfinished
from engarde_pipeline_tests.defs.backfills import ask_for_backfill, backfill_status, has_ended
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.role_script import run_role_script
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.telemetry.lines import answer, assert_tells_runs, parsed

DATES = dates_between(today() - timedelta(days=99), today() - timedelta(days=60))
"""Older than what the sensors keep in sync, so that only the backfill syncs them."""

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END$$;
CREATE TRIGGER slow BEFORE INSERT ON campaign_metrics FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
"""Makes each date take a while, as on a large table."""

NEWER_SCHEMA = f"""
ALTER TABLE campaign_metrics ADD seen_at timestamptz;
UPDATE {VERSION_TABLE} SET version_num = '9999';
"""
"""What the migration of a newer version may do while this one still runs."""

NOTED = """
INSERT INTO synced_dates (table_name, metric_date, version, run_id)
SELECT 'campaign_metrics', unnest(%s::date[]), 'of another', gen_random_uuid()
"""
"""Uncommitted, it keeps a sync of these dates waiting at its last statement."""

WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"


@pytest.fixture
def deployment(shop: Shop, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose pipeline logs in with the role of the script; nothing is started yet."""
    run_role_script(shop.world.database_url).check_returncode()
    required = {name for names in documented_variables().values() for name in names}
    variables = {name: value for name, value in os.environ.items() if name in required}
    role = make_url(shop.world.database_url).set(username="engarde_pipeline")
    variables["DATABASE_URL"] = role.render_as_string(hide_password=False)
    with connect(shop.world.database_url) as connection:
        connection.execute("ALTER ROLE engarde_api LOGIN")
    api = role.set(username="engarde_api").render_as_string(hide_password=False)
    variables |= {"API_DATABASE_URL": api, "JWT_SECRET_KEY": "a-secret-of-the-tests-that-is-long-enough"}
    optional = {**shop.world.environment, "ENGARDE_WINDOW_DAYS": "1", "ENGARDE_FIRST_DATE": "2026-01-01"}
    made = Deployment(
        tmp_path / "home", variables, {name: optional[name] for name in optional.keys() - variables.keys()}
    )
    yield made
    made.stop()
    for log in sorted(tmp_path.glob("*.log")):  # shown if the test has failed
        sys.stdout.write(f"{log.name}:\n{log.read_text()}\n")


@pytest.mark.parametrize("command", ["code-server", "daemon", "ui"])
def test_a_process_without_its_variables_names_all_of_them(command: str) -> None:
    done = subprocess.run([*ENGARDE, command], env={"COLUMNS": "300"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    # Those of the code server's address are known from workspace.yaml.
    for name in documented_variables()[command]:
        assert name.startswith("ENGARDE_CODE_SERVER") or f"{name}: is missing" in done.stderr


def test_a_process_names_the_variables_that_its_files_refer_to(deployment: Deployment) -> None:
    environment = deployment.environment("daemon")
    for name in ("ENGARDE_CODE_SERVER_HOST", "ENGARDE_CODE_SERVER_PORT", "DAGSTER_DATABASE_URL"):
        del environment[name]
    done = subprocess.run([*ENGARDE, "daemon"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DAGSTER_DATABASE_URL: is missing" in done.stderr
    assert "ENGARDE_CODE_SERVER_HOST: is missing" in done.stderr
    assert "ENGARDE_CODE_SERVER_PORT: is missing" in done.stderr


def test_the_doctor_of_a_daemon_says_that_the_code_server_is_not_there(deployment: Deployment) -> None:
    done = deployment.doctor("daemon")

    assert done.returncode == 1
    assert "Dagster storage: its history has 0 runs; its tables are up to date" in done.stdout
    assert f"The code server at 127.0.0.1:{deployment.code_server_port} does not respond" in done.stdout
    assert "There is no heartbeat of the last 180 seconds" in done.stdout


def test_the_doctor_of_the_api_says_that_the_webserver_is_not_there(deployment: Deployment) -> None:
    done = deployment.doctor("api")

    assert done.returncode == 1
    assert "the API's login sees one tenant at a time" in done.stdout
    assert f"webserver at http://127.0.0.1:{deployment.ui_port} cannot be reached" in done.stdout


def test_the_doctor_of_the_exporter_reads_the_sums(deployment: Deployment, shop: Shop) -> None:
    done = deployment.doctor("exporter")
    assert done.returncode == 0, done.stdout
    assert "the exporter's login reads 9 metrics from Postgres" in done.stdout

    deployment.variables["DATABASE_URL"] = deployment.variables["API_DATABASE_URL"]
    done = deployment.doctor("exporter")
    assert done.returncode == 1
    assert "permission denied" in done.stdout


def test_the_doctor_of_a_migration_wants_the_owner(deployment: Deployment, shop: Shop) -> None:
    done = deployment.doctor("migrate", "db upgrade")
    assert done.returncode == 1
    assert "The role may not create tables. Run: GRANT CREATE ON SCHEMA public TO" in done.stdout

    deployment.variables["DATABASE_URL"] = shop.world.database_url
    done = deployment.doctor("migrate", "db upgrade")
    assert done.returncode == 0, done.stdout


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_every_process_starts_with_its_variables_alone_and_is_healthy_until_it_is_stopped(
    deployment: Deployment, shop: Shop
) -> None:
    shop.load(today())  # the doctor wants tables in BigQuery
    assert not deployment.is_healthy("code-server")
    assert not deployment.is_healthy("daemon")

    running = [deployment.start(command) for command in ("daemon", "code-server", "ui")]

    eventually(lambda: deployment.is_healthy("code-server"), "a healthy code server", 90)
    eventually(lambda: _location_is_loaded(deployment), "a UI with the pipeline", 90)
    eventually(lambda: deployment.is_healthy("daemon"), "a live daemon", 90)
    for command in ("code-server", "daemon", "ui", "api"):
        done = deployment.doctor(command)
        assert done.returncode == 0, done.stdout
    for process in running:
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert not deployment.is_healthy("code-server")


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_every_process_logs_json_and_the_code_server_tells_its_runs(
    deployment: Deployment, shop: Shop, instance: DagsterInstance, tmp_path: Path
) -> None:
    good, held = DATES[:2]
    shop.load(good)
    keys = {"tenant_id": str(shop.tenant), "platform": "meta", "metric_date": held}
    shop.world.load([{**keys, "campaign_id": f"x{n}", "clicks": n} for n in range(1, 40)] * 2)
    deployment.everywhere["ENGARDE_LOG_FORMAT"] = "json"
    processes = [deployment.start_code_server(), deployment.start("daemon"), deployment.start("ui")]
    runs = []
    for day in (good, held):
        backfill = ask_for_backfill(instance, [day])
        eventually(lambda of=backfill: has_ended(instance, of), f"the backfill of {day}", 180)  # type: ignore[misc]
        runs += [run.run_id for run in instance.get_runs(RunsFilter(tags={"dagster/backfill": backfill}))]
    eventually(lambda: _location_is_loaded(deployment), "a UI with the pipeline", 90)
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=150)

    log = deployment.log("code-server").read_text()
    merged = {event["run_id"] for event in parsed(log) if event["message"] == "merge"} & {*runs}
    (synced,) = (run for run in merged if _status(instance, run) is DagsterRunStatus.SUCCESS)
    (failed,) = (run for run in merged if _status(instance, run) is DagsterRunStatus.FAILURE)
    assert_tells_runs(log, synced, failed, str(good))
    assert parsed(deployment.log("daemon").read_text())
    parsed(deployment.log("ui").read_text())  # which has nothing to say
    landed = {
        tuple(line.split("\t")[:2])
        for line in answer("Which dates of which tables landed, and what changed", tmp_path)
    }
    assert ("campaign_metrics", str(good)) in landed
    assert ("campaign_metrics", str(held)) not in landed
    (sums,) = answer("Where does the time of a run go?", tmp_path, run=synced)[:1]
    assert json.loads(sums)[1] >= 0


def test_the_page_of_the_log_asks_questions_that_jq_understands(tmp_path: Path) -> None:
    line = {"timestamp": "t", "level": "info", "logger": "l", "message": "m", "request_id": "r1", "route": "/m"}
    lines = [{**line, "path": f"/{n}", "tenant": None, "duration_seconds": n} for n in range(12)]
    (tmp_path / "api.log").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    assert len(answer("Everything that one request has caused", tmp_path, request="r1")) > 12
    assert answer("Everything that one request has caused", tmp_path, request="r2") == []
    slowest = [json.loads(each) for each in answer("The slowest ten requests", tmp_path)]
    assert slowest == [[f"/{n}", None, n] for n in range(11, 1, -1)]


def _status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _location_is_loaded(deployment: Deployment) -> bool:
    query = "{workspaceOrError {... on Workspace {locationEntries {name loadStatus}}}}"
    address = f"http://127.0.0.1:{deployment.ui_port}"
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=10) as response:  # noqa: S310
            assert response.status == 200
        request = urllib.request.Request(  # noqa: S310
            f"{address}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            found = json.load(response)["data"]["workspaceOrError"]["locationEntries"]
    except OSError:
        return False
    return bool(found == [{"name": "engarde_pipeline", "loadStatus": "LOADED"}])


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_schema_and_code_server_are_upgraded_during_a_backfill_and_no_date_is_lost_or_repeated(
    deployment: Deployment, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(*DATES)
    shop.world.connection.execute(SLOW.encode())
    first = deployment.start_code_server()
    deployment.start("daemon")
    backfill = ask_for_backfill(instance, DATES)
    eventually(lambda: len(_dates_in_postgres(shop)) >= 3, "the first dates", 120)
    shop.world.connection.execute(NEWER_SCHEMA.encode())
    before = len(_dates_in_postgres(shop))
    eventually(lambda: len(_dates_in_postgres(shop)) >= before + 3, "dates in the new schema", 60)

    first.send_signal(signal.SIGTERM)
    seconds = eventually(lambda: first.poll() is not None, "the end of the code server", 100)

    assert first.returncode == 0
    assert seconds < 60
    # Another run, of the sensors, may have been stopped, too.
    failed = _failed(instance)
    assert [run.tags.get("dagster/backfill") for run in failed].count(backfill) == 1
    landed = _landed(instance)
    assert before + 3 <= len(landed) < len(DATES)
    # No date was committed that Dagster does not know, and the run's retry is in the queue.
    assert set(landed) == _dates_in_postgres(shop)
    eventually(lambda: _are_retried(_failed(instance)), "the retries of the runs, by the daemon", 60)

    deployment.start_code_server()
    eventually(lambda: has_ended(instance, backfill) and not unfinished(instance), "the backfill", 300)
    assert backfill_status(instance, backfill) is BulkActionStatus.COMPLETED_SUCCESS
    # Each date was synced once, and no other run failed.
    assert sorted(_landed(instance)) == sorted(_dates_in_postgres(shop)) == [str(day) for day in DATES]
    assert {run.run_id for run in _failed(instance)} == {run.run_id for run in failed}
    assert len(instance.get_materialized_partitions(AssetKey("campaign_asset_metrics"))) >= len(DATES)


# In the group of the image, so that it does not run beside the build of it: the two minutes are a promise.
@pytest.mark.long
@pytest.mark.xdist_group("image")
def test_a_date_that_does_not_end_does_not_keep_the_code_server_from_ending(
    deployment: Deployment, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(*DATES)
    server = deployment.start_code_server()
    deployment.start("daemon")
    with connect(shop.world.database_url) as other, other.transaction(force_rollback=True):
        other.execute(NOTED, [DATES])
        ask_for_backfill(instance, DATES)
        eventually(lambda: bool(shop.world.query(WAITING)), "a run that waits within a date", 120)

        server.send_signal(signal.SIGTERM)
        seconds = eventually(lambda: server.poll() is not None, "the end of the code server", 150)

    assert SECONDS_TO_FINISH <= seconds < 120
    ends = [event.message for run in _failed(instance) for event in instance.all_logs(run.run_id)]
    assert any("its date took more than 60 seconds. The date was rolled back." in message for message in ends)
    eventually(lambda: _are_retried(_failed(instance)), "the retries of the runs, by the daemon", 60)


def _failed(instance: DagsterInstance) -> list[DagsterRun]:
    return [run for run in instance.get_runs() if run.status is DagsterRunStatus.FAILURE]


def _are_retried(runs: list[DagsterRun]) -> bool:
    return all("dagster/auto_retry_run_id" in run.tags for run in runs)


def _landed(instance: DagsterInstance) -> list[str]:
    first, last = str(DATES[0]), str(DATES[-1])
    return [day for day in landed_dates(instance, "campaign_metrics") if first <= day <= last]


def _dates_in_postgres(shop: Shop) -> set[str]:
    return {str(row["metric_date"]) for row in shop.world.rows()}
