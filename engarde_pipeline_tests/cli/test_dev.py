"""`engarde dev`: what it does where a part of it cannot start, and what it starts outside a checkout."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import engarde_pipeline
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.world import World

ROOT = Path(engarde_pipeline.__file__).parents[1]


def test_a_secret_that_is_refused_ends_the_command_before_anything_starts(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "short")
    said = engarde("dev")
    assert said.code == 1
    assert "JWT_SECRET_KEY: is too short" in said.words
    assert "The Dagster UI will be at" not in said.words


@pytest.mark.long
def test_an_api_that_cannot_start_ends_the_whole(configured: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "a-secret-of-the-tests-that-is-long-enough")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ports = ["--port", str(unused.getsockname()[1]), "--api-port", str(taken.getsockname()[1])]
        unused.close()
        done = subprocess.run(
            [sys.executable, "-m", "engarde_pipeline.cli", "dev", *ports],
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "COLUMNS": "200"},
        )
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "The REST API ended with exit code" in done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel that was built from this checkout, as pip lays them into site-packages."""
    sources, wheels, site = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels", "site"))
    for name in ("pyproject.toml", "setup.py", "README.md", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, sources)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "engarde_pipeline", sources / "engarde_pipeline", ignore=ignored)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(sources)], check=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.mark.long
def test_an_installed_package_names_the_code_location_that_the_api_queues_for(installed: Path) -> None:
    (location,) = yaml.safe_load((installed / "engarde_pipeline/workspace.yaml").read_text())["load_from"]
    assert location["python_module"]["location_name"] == "engarde_pipeline"


@pytest.mark.long
def test_an_installed_package_makes_an_instance_with_retries_monitoring_and_a_queue(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from engarde_pipeline.cli.dagster_files import WORKSPACE, missing_features, shipped\n"
        "from engarde_pipeline.cli.servers import set_dagster_home\n"
        "set_dagster_home()\n"
        "print(shipped(WORKSPACE), missing_features())"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(installed / "engarde_pipeline/workspace.yaml"), "None"], done.stderr
    assert (tmp_path / ".engarde/dagster/dagster.yaml").read_text() == (ROOT / "dagster.yaml").read_text()
