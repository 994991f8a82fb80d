"""The house: a room imports only from the floors below it, and what must start fast does."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import engarde_pipeline
from engarde_pipeline_tests.conftest import NAMED_SERVERS

PACKAGE = Path(engarde_pipeline.__file__).parent
ROOT = PACKAGE.parent
FLOORS = (
    {"addresses", "errors", "metrics", "settings", "partitions"},
    {"bigquery", "postgres"},
    {"sync"},
    {"assets", "automation", "sync_jobs"},
    {"api", "cli", "local", "definitions"},
)
ROOMS_THAT_KNOW_DAGSTER = {"partitions", "assets", "automation", "sync_jobs", "api", "cli", "definitions"}


def _room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _floor(room: str) -> int:
    (floor,) = (number for number, rooms in enumerate(FLOORS) if room in rooms)
    return floor


def _imported(module: Path) -> Iterator[str]:
    """Every name a module imports, dotted, wherever in it: `from a.b import c` is `a.b.c`."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_rooms(module: Path) -> set[str]:
    names = (name.split(".") for name in _imported(module))
    return {parts[1] for parts in names if parts[0] == "engarde_pipeline" and len(parts) > 1}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
EVERY_MODULE = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


@EVERY_MODULE
def test_a_room_imports_only_from_its_own_floor_or_below(module: Path) -> None:
    above = {room for room in _imported_rooms(module) if _floor(room) > _floor(_room(module))}
    assert not above


@pytest.mark.parametrize(("room", "neighbour"), [("bigquery", "postgres"), ("postgres", "bigquery")])
def test_bigquery_and_postgres_do_not_know_each_other(room: str, neighbour: str) -> None:
    knowing = [module for module in (PACKAGE / room).rglob("*.py") if neighbour in _imported_rooms(module)]
    assert not knowing


@EVERY_MODULE
def test_only_the_rooms_about_dagster_import_dagster(module: Path) -> None:
    if _room(module) not in ROOMS_THAT_KNOW_DAGSTER:
        assert "dagster" not in {name.split(".")[0] for name in _imported(module)}


@EVERY_MODULE
def test_googles_clients_are_used_in_few_places(module: Path) -> None:
    # The emulator's data is loaded by the client.
    if _room(module) not in {"bigquery", "local"}:
        assert not {name for name in _imported(module) if name.split(".")[0] == "google"}


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **NAMED_SERVERS},
    )
    return {name.split(".")[0] for name in printed.stdout.split()}


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    heavy = {"dagster", "google", "grpc", "pyarrow", "pandas", "alembic", "psycopg"}
    assert not _loaded_by("import engarde_pipeline.cli") & heavy


def test_a_sync_needs_no_dagster() -> None:
    assert "dagster" not in _loaded_by("import engarde_pipeline.sync.dates, engarde_pipeline.sync.slices")


def test_bare_dagster_dev_and_dg_load_the_same_code_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_dagster_loads_the_pipeline_without_the_service() -> None:
    loaded = _loaded_by("import engarde_pipeline.definitions")
    assert not loaded & {"fastapi", "uvicorn", "psycopg_pool", "jwt", "limits"}


def test_everything_that_is_installed_is_pinned_with_hashes() -> None:
    text = (ROOT / "constraints.txt").read_text().replace("\\\n", "")
    pinned = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(pinned) > 100
    assert [line for line in pinned if "==" not in line or "--hash=sha256:" not in line] == []
