"""Copies dagster.yaml and workspace.yaml into the package when a wheel is built; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithDagsterFiles(build_py):
    """Builds the package with the two files that Dagster reads; they are kept at the top of the repository."""

    def run(self) -> None:
        """Build the package. An editable installation reads the files where they are."""
        super().run()
        if not self.editable_mode:
            for name in ("dagster.yaml", "workspace.yaml"):
                self.copy_file(name, str(Path(self.build_lib) / "engarde_pipeline" / name))


setup(cmdclass={"build_py": BuildWithDagsterFiles})
