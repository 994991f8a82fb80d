"""Copies files of Dagster and deploy/ into the package when a wheel is built; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = (
    "dagster.yaml",
    "workspace.yaml",
    "deploy/postgres-role.sql",
    "deploy/run-launcher-celery.yaml",
    "deploy/run-launcher-kubernetes.yaml",
    "deploy/run-launcher-process.yaml",
    "deploy/workspace.yaml",
)


class BuildWithDagsterFiles(build_py):
    """Builds the package with the files that `engarde dev` and `engarde init` use, kept outside of it."""

    def run(self) -> None:
        """Build the package. An editable installation reads the files where they are."""
        super().run()
        if not self.editable_mode:
            for name in FILES:
                target = Path(self.build_lib) / "engarde_pipeline" / name
                self.mkpath(str(target.parent))
                self.copy_file(name, str(target))


setup(cmdclass={"build_py": BuildWithDagsterFiles})
