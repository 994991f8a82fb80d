"""deploy/Dockerfile: built by buildah, without a registry or a daemon, on a base image that is made here."""

import ast
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

import pytest

from engarde_pipeline_tests.deploy.compose import DEPLOY, image_environment, services, unescaped
from engarde_pipeline_tests.servers import installed_program

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("image")]

ROOT = DEPLOY.parent
BASE = "localhost/base"
UID = 10001


@dataclass(frozen=True)
class Image:
    """The image, and a container of it."""

    buildah: list[str]
    container: str
    root: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user and with its variables only."""
        return _run([*self.buildah, "run", "--isolation", "chroot", self.container, "--", *command])

    @property
    def configuration(self) -> dict[str, Any]:
        inspected = json.loads(_run([*self.buildah, "inspect", self.container]).stdout)
        found: dict[str, Any] = inspected["OCIv1"]["config"]
        return found


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if _run(["unshare", "--mount", "chroot", "/", "true"]).returncode:
        # Also in CI: the kernel or the container's runtime decides this, and no installation changes it.
        pytest.skip("this system does not let the user mount and change the root")
    # On disk: the layers of the image need more than most machines have in memory.
    with TemporaryDirectory(prefix="engarde-image-", dir="/var/tmp") as made:
        directory = Path(made)
        # vfs: the other drivers do not work on every file system, such as that of a container.
        storage = ["--root", made + "/storage", "--runroot", made + "/run", "--storage-driver", "vfs"]
        buildah = [str(installed_program("buildah")), *storage]
        _make_base(buildah, directory)
        configuration, mounts = _pip_configuration(directory)
        built = _run(
            [
                *(*buildah, "build", "--isolation", "chroot", "--pull=never"),
                *("--secret", f"id=pip.conf,src={configuration}"),
                *(word for path in mounts for word in ("--volume", f"{path}:{path}:ro")),
                *("--build-arg", f"BASE={BASE}", "--build-arg", "VERSION=1.2.3"),
                *("--file", str(DEPLOY / "Dockerfile"), "--tag", "localhost/engarde-pipeline", str(ROOT)),
            ]
        )
        assert built.returncode == 0, built.stderr[-4000:]
        container = _run([*buildah, "from", "--pull-never", "localhost/engarde-pipeline"]).stdout.strip()
        mounted = _run([*buildah, "mount", container]).stdout.strip()
        try:
            yield Image(buildah, container, Path(mounted))
        finally:
            _run([*buildah, "umount", container])
            _run([*buildah, "rm", container])


def _make_base(buildah: list[str], directory: Path) -> None:
    """Make a base image: this system's Debian with its Python, as there is no registry to get one from."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    tree = directory / "base"
    packages = "--include=python3,python3-venv,ca-certificates"
    made = _run([str(installed_program("debootstrap")), "--variant=minbase", packages, release, str(tree)])
    assert made.returncode == 0, made.stdout[-2000:]
    container = _run([*buildah, "from", "scratch"]).stdout.strip()
    for command in (["add", container, str(tree), "/"], ["commit", "--rm", container, BASE]):
        said = _run([*buildah, *command])
        assert said.returncode == 0, said.stderr
    shutil.rmtree(tree)


def _pip_configuration(directory: Path) -> tuple[Path, list[Path]]:
    """This machine's configuration of pip as a file, and the local files that it names."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"]).stdout
    options = dict(line.split("=", 1) for line in listed.splitlines())
    values = {name.rpartition(".")[2]: ast.literal_eval(value) for name, value in options.items()}
    file = directory / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
    words = [urlparse(word) for value in values.values() for word in value.split()]
    # An index in a directory links to files beside it.
    named = [Path(word.path).parent if word.scheme == "file" else Path(word.path) for word in words]
    return file, sorted({path for path in named if path.is_absolute() and path.exists()})


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_runs_as_a_user_without_rights(image: Image) -> None:
    said = image.run("engarde", "--version")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("engarde-pipeline ")
    assert image.run("id", "-u").stdout.strip() == str(UID)
    # The programs of the launchers, which the image has for every process.
    for program in ("dagster", "dagster-daemon", "dagster-webserver", "celery"):
        assert image.run("which", program).stdout.strip() == f"/opt/engarde/bin/{program}"


def test_the_configuration_is_that_of_the_dockerfile(image: Image) -> None:
    configuration = image.configuration
    assert configuration["User"] == f"{UID}:{UID}"
    # The run launchers of Dagster give whole commands as arguments, which an entry point would swallow.
    assert not configuration.get("Entrypoint")
    assert configuration["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    variables = dict(variable.split("=", 1) for variable in configuration["Env"])
    assert {name: variables[name] for name in image_environment() if name != "PATH"} == {
        name: value for name, value in image_environment().items() if name != "PATH"
    }


def test_only_its_home_is_written_to(image: Image) -> None:
    writable = []
    for parent, directories, _ in os.walk(image.root):
        for name in directories:
            path = Path(parent) / name
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode) and (status.st_uid == UID or status.st_mode & stat.S_IWOTH):
                writable.append(str(path.relative_to(image.root)))
    assert sorted(writable) == ["run/lock", "tmp", "var/lib/dagster", "var/tmp"]


def test_modules_are_compiled_and_tests_and_tools_are_left_out(image: Image) -> None:
    (packages,) = (image.root / "opt" / "engarde" / "lib").glob("python3*/site-packages")
    sources = list((packages / "engarde_pipeline").rglob("*.py"))
    assert sources
    compiled = {file.name.partition(".")[0] for file in (packages / "engarde_pipeline").rglob("*.pyc")}
    assert {source.stem for source in sources} <= compiled
    assert not list(packages.glob("engarde_pipeline_tests*"))
    assert not (image.root / "opt" / "engarde" / "bin" / "pip").exists()
    for path in ("src", "dist", "opt/build", "root/.cache"):
        assert not (image.root / path).exists()


def test_nothing_of_pips_configuration_stays(image: Image, tmp_path: Path) -> None:
    configuration, _ = _pip_configuration(tmp_path)
    assert not (image.root / "etc" / "pip.conf").exists() or not (image.root / "etc" / "pip.conf").read_text()
    history = _run([*image.buildah, "inspect", image.container]).stdout
    for line in configuration.read_text().splitlines()[1:]:
        value = line.partition(" = ")[2]
        assert len(value) < 8 or value not in history


def test_the_first_job_of_the_deployment_writes_dagsters_files(image: Image) -> None:
    said = image.run(*(unescaped(word) for word in services()["init"]["command"]))
    assert said.returncode == 0, said.stderr
    home = image.root / "var" / "lib" / "dagster"
    assert {"dagster.yaml", "workspace.yaml"} <= {file.name for file in home.iterdir()}
