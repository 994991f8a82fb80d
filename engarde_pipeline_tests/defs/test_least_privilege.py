"""Everything that runs by itself runs with the grants of deploy/, and nothing more."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    RunRequest,
    SensorDefinition,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)
from sqlalchemy.engine import make_url

import engarde_pipeline
from engarde_pipeline.core.dates import today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.schedules import hourly_sync, nightly_reconciliation
from engarde_pipeline_tests.dagster_runs import check_results, run_range, run_slice
from engarde_pipeline_tests.role_script import run_role_script
from engarde_pipeline_tests.shop import Shop

DEPLOY = Path(engarde_pipeline.__file__).parents[1] / "deploy"
YESTERDAY, TODAY = today() - timedelta(days=1), today()


@pytest.fixture
def humble(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose pipeline logs in with the role of the script."""
    run_role_script(shop.world.database_url).check_returncode()
    url = make_url(shop.world.database_url).set(username="engarde_pipeline")
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    return shop


def test_runs_slices_and_checks(humble: Shop, instance: DagsterInstance) -> None:
    humble.load(YESTERDAY, TODAY)

    run = run_range(instance, YESTERDAY, TODAY)

    assert run.success
    assert set(check_results(run).values()) == {True}
    day = {"start": str(TODAY), "end": str(TODAY)}
    assert run_slice(instance, {**day, "tenant": str(humble.tenant)}).success


@pytest.mark.parametrize("sensor", defs.sensors or (), ids=lambda sensor: sensor.name)
def test_every_sensor(humble: Shop, instance: DagsterInstance, sensor: SensorDefinition) -> None:
    humble.load(TODAY)
    needed = {
        name: {"bigquery": BigQuery(), "postgres": Postgres()}[name] for name in sensor.required_resource_keys
    }
    context = build_sensor_context(instance, definitions=defs, resources=needed)

    said = sensor.evaluate_tick(context)

    assert "permission denied" not in str(said.skip_message)
    assert "cannot be" not in str(said.skip_message)


@pytest.mark.parametrize("schedule", [hourly_sync, nightly_reconciliation])
def test_every_schedule(humble: Shop, instance: DagsterInstance, schedule: object) -> None:
    humble.load(TODAY)
    context = build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC))

    asked = schedule(context, bigquery=BigQuery(), postgres=Postgres())  # type: ignore[operator]

    assert not isinstance(asked, SkipReason), asked
    assert all(isinstance(request, RunRequest) for request in asked)


def test_the_script_grants_three_roles_in_bigquery(tmp_path: Path) -> None:
    for program in ("gcloud", "bq"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
        (tmp_path / program).chmod(0o755)
    given = subprocess.run(
        ["sh", DEPLOY / "bigquery-roles.sh", "acme", "engarde_analytics", "sync@acme.iam.gserviceaccount.com"],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    member = "serviceAccount:sync@acme.iam.gserviceaccount.com"
    bind = f"gcloud projects add-iam-policy-binding acme --member={member} --role="
    assert given.stdout.splitlines() == [
        f"{bind}roles/bigquery.jobUser --condition=None",
        f"{bind}roles/bigquery.readSessionUser --condition=None",
        "bq --project_id=acme query --use_legacy_sql=false"
        f" GRANT `roles/bigquery.dataViewer` ON SCHEMA `acme.engarde_analytics` TO '{member}'",
    ]
