"""`engarde worker` refuses to start where it would get no runs, and says why."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from engarde_pipeline_tests.distributed.cluster import ROOT, RUN_LAUNCHER
from engarde_pipeline_tests.world import World

PASSWORD = "hunter2"  # noqa: S105  the secret that must never be shown


def _worker(environment: Mapping[str, str] | None = None, code: str = "") -> str:
    """Start a worker that does not start; return what it prints, in one line."""
    code = f"{code}\nfrom engarde_pipeline.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "worker"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "1000", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


def test_missing_variables_are_named_in_one_message(tmp_path: Path) -> None:
    said = _worker({"ENGARDE_BROKER_URL": f"amqp://u:{PASSWORD}@host", "ENGARDE_HOME": str(tmp_path)})
    for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL", "BIGQUERY_PROJECT_ID"):
        assert f"{name}: is missing" in said
    assert "ENGARDE_BROKER_URL: must be an address of redis" in said
    assert PASSWORD not in said
    assert "engarde demo" not in said, "a worker has no sample data"


def test_an_instance_without_the_run_launcher_is_refused(configured: World) -> None:
    said = _worker({"ENGARDE_BROKER_URL": "redis://127.0.0.1:9"})
    assert "The run launcher in" in said
    assert "deploy/run-launcher-celery.yaml" in said


def test_a_redis_that_cannot_be_reached_is_named_without_its_password(
    configured: World,
) -> None:
    with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as file:
        file.write(f"\n{RUN_LAUNCHER}")
    said = _worker({"ENGARDE_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:9/0"})
    assert "redis cannot be reached" in said
    assert "Check ENGARDE_BROKER_URL" in said
    assert PASSWORD not in said


def test_without_the_extra_its_name_is_given(configured: World) -> None:
    # As where it is not installed: importing it raises ModuleNotFoundError.
    said = _worker(
        {"ENGARDE_BROKER_URL": "redis://127.0.0.1:9"}, code="import sys; sys.modules['dagster_celery'] = None"
    )
    assert "pip install 'engarde-pipeline[distributed]'" in said
