"""`engarde init`: writes what a deployment needs, and never overwrites a file that was changed."""

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance

from engarde_pipeline.cli.init import Launcher
from engarde_pipeline.dagster_launcher import ProcessRunLauncher
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.world import World

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = {"dagster.yaml", "postgres-role.sql", "workspace.yaml"}


def test_the_files_make_an_instance_that_starts_runs_as_processes(
    engarde: Engarde, configured: World, tmp_path: Path
) -> None:
    home = tmp_path / "new" / "home"

    said = engarde("init", home, width=300)

    assert said.code == 0
    assert {file.name for file in home.iterdir()} == FILES
    with DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, ProcessRunLauncher)
        assert instance.run_retries_enabled


@pytest.mark.parametrize("launcher", Launcher)
def test_the_run_launcher_is_the_one_of_deploy(engarde: Engarde, tmp_path: Path, launcher: Launcher) -> None:
    assert engarde("init", tmp_path, "--launcher", launcher.value).code == 0

    written = yaml.safe_load((tmp_path / "dagster.yaml").read_text())
    assert (
        written.pop("run_launcher")
        == (yaml.safe_load((DEPLOY / f"run-launcher-{launcher}.yaml").read_text())["run_launcher"])
    )
    assert written == yaml.safe_load((DEPLOY.parent / "dagster.yaml").read_text())


def test_a_file_that_was_changed_is_kept_and_the_new_one_is_beside_it(
    engarde: Engarde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert engarde("init").code == 0
    assert engarde("init").code == 0  # nothing has changed
    new = (tmp_path / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text("# mine\n")

    said = engarde("init", width=300)

    assert said.code == 1
    assert f"were kept: dagster.yaml. Compare each with the new one, {tmp_path}/dagster.yaml.new" in said.words
    assert (tmp_path / "dagster.yaml").read_text() == "# mine\n"
    assert (tmp_path / "dagster.yaml.new").read_text() == new
    assert {file.name for file in tmp_path.iterdir()} == FILES | {"dagster.yaml.new"}


def test_without_a_directory_the_command_asks_for_one(engarde: Engarde) -> None:
    said = engarde("init")
    assert said.code == 1
    assert "Set DAGSTER_HOME, or name a directory" in said.words
