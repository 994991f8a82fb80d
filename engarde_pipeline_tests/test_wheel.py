"""The wheel, in a clean environment outside the checkout: what is installed there is all that a command can use.

The tests share one environment, and run in the order of this file: first without the `local` extra, then with it.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from engarde_pipeline_tests.api.service import SECRET, api_database_url, free_port
from engarde_pipeline_tests.conftest import FIRST_DATE
from engarde_pipeline_tests.shop import Shop

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("wheel")]

ROOT = Path(__file__).parents[1]
DAY = date(2026, 3, 1)
_NOT_SOURCES = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


@dataclass(frozen=True)
class Package:
    """What is built from the checkout, and the sources it was built from."""

    sources: Path
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty directory to run its commands in."""

    programs: Path
    directory: Path

    def install(self, *arguments: str | Path) -> None:
        """Run `pip install`; nothing is compiled but what is used."""
        options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run(
            [self.programs / "pip", "install", *options, *arguments], check=True, stderr=subprocess.DEVNULL
        )

    def variables(self, **variables: str) -> dict[str, str]:
        """Return a bare environment with `variables`: nothing of the one that the tests run in."""
        return {"PATH": os.defpath, "HOME": str(self.directory), "LANG": "C.UTF-8", "COLUMNS": "200", **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an `engarde` command to its end."""
        return subprocess.run(
            [self.programs / "engarde", *arguments],
            cwd=self.directory,
            env=self.variables(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def succeed(self, *arguments: str, **variables: str) -> str:
        """Run an `engarde` command, and return what it printed."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    sources, built = tmp_path_factory.mktemp("sources") / "checkout", tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, sources, ignore=_NOT_SOURCES)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(built)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=sources, check=True, stdout=subprocess.DEVNULL)
    return Package(sources, _wheel(sources, built), next(built.glob("*.tar.gz")))


def _wheel(source: Path, directory: Path) -> Path:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def production(package: Package) -> Iterator[Environment]:
    """The wheel with what production needs, installed as README.md says by the pip that comes with Python."""
    # The embedded Postgres has a user of its own, which pytest's directories keep out.
    with TemporaryDirectory(prefix="engarde-wheel-") as name:
        home = Path(name)
        home.chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        environment = Environment(home / "venv" / "bin", home / "directory")
        environment.directory.mkdir()
        environment.install("--require-hashes", "--no-deps", "-r", ROOT / "deploy" / "requirements.txt")
        environment.install("--no-deps", package.wheel)
        yield environment


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_carries_every_file_of_the_package_and_the_files_that_dagster_reads(package: Package) -> None:
    directory = package.sources / "engarde_pipeline"
    files = {str(file.relative_to(package.sources)) for file in directory.rglob("*") if file.is_file()}
    added = {"engarde_pipeline/dagster.yaml", "engarde_pipeline/workspace.yaml"}
    assert files | added <= _files(package.wheel).keys()


def test_the_sdist_builds_the_same_wheel(package: Package, tmp_path: Path) -> None:
    assert _files(_wheel(package.sdist, tmp_path)) == _files(package.wheel)


def test_the_locks_have_every_dependency_of_the_wheel(production: Environment) -> None:
    checked = subprocess.run([production.programs / "pip", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_installed_command_names_its_version(production: Environment) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert production.succeed("--version") == f"engarde-pipeline {version}"


@pytest.mark.parametrize("command", [["demo"], ["dev"], ["status"]])
def test_without_the_local_extra_a_command_that_needs_it_says_how_to_install_it(
    production: Environment, tmp_path: Path, command: Sequence[str]
) -> None:
    (tmp_path / "postgres").mkdir()  # where `status` takes it for the data of an earlier demo
    done = production.run(*command, ENGARDE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "need the `local` extra" in done.stderr
    assert "pip install 'engarde-pipeline[local]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_database_is_brought_up_to_date(production: Environment, empty_database_url: str) -> None:
    servers = {"DATABASE_URL": empty_database_url, "BIGQUERY_PROJECT_ID": "unused", "ENGARDE_WINDOW_DAYS": "1"}
    production.succeed("db", "upgrade", **servers)
    assert "Bytes read from BigQuery per day" in production.succeed("status", **servers)


def test_a_configured_postgres_is_checked_synced_and_served(
    production: Environment, shop: Shop, dagster_database_url: str
) -> None:
    shop.load(DAY)
    servers = {
        **shop.world.environment,
        "DAGSTER_DATABASE_URL": dagster_database_url,
        "ENGARDE_FIRST_DATE": FIRST_DATE,
    }
    assert "All checks passed" in production.succeed("doctor", **servers)

    production.succeed("sync", "--start", str(DAY), "--end", str(DAY), **servers)
    assert len(shop.world.rows()) == 2
    # The instance has what the pipeline's dagster.yaml turns on.
    home = str(production.directory / ".engarde" / "dagster")
    checked = production.succeed("doctor", DAGSTER_HOME=home, **servers)
    assert "run retries, run monitoring, the run queue and tick retention are on" in checked
    assert "its history is in Postgres" in checked
    assert f"completed {DAY}" in production.succeed("jobs", **servers)

    servers |= {"API_DATABASE_URL": api_database_url(shop.world.database_url), "JWT_SECRET_KEY": SECRET}
    token = production.succeed("api", "token", "--tenant", str(shop.tenant), **servers)
    with _api(production, servers) as client:
        asked = {"start_date": str(DAY), "end_date": str(DAY)}
        assert client.get("/api/campaign-performance/metrics", params=asked).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        answer = client.get("/api/campaign-performance/metrics", params=asked).json()
    assert [group["spend"] for group in answer["metrics"]] == [21.0]


@contextmanager
def _api(environment: Environment, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """Run `engarde api`, and wait until it is ready."""
    port = free_port()
    process = subprocess.Popen(
        [environment.programs / "engarde", "api", "--port", str(port)],
        cwd=environment.directory,
        env=environment.variables(**variables),
        stdout=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_until_ready(client, process)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the API does not start"
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx.ConnectError:
            time.sleep(0.2)
    pytest.fail("the API is not ready")


def test_with_the_local_extra_the_demo_runs_to_its_end(production: Environment) -> None:
    production.install("--require-hashes", "--no-deps", "-r", ROOT / "deploy" / "requirements-local.txt")

    home = {"ENGARDE_HOME": str(production.directory / "demo")}
    shown = production.succeed("demo", **home)
    assert "The campaigns with the highest spend" in shown
    assert "succeeded" in shown
    assert "engarde dev" in shown
    assert "All checks passed" in production.succeed("doctor", **home)
