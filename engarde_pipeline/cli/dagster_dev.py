"""`python -m engarde_pipeline.cli.dagster_dev`: the command `dagster dev`, with our log, without its notices.

It announces its successor, `dg dev`, which needs the project's pyproject.toml, and so no installed wheel.
"""

import warnings
from importlib.metadata import entry_points

from engarde_pipeline.telemetry import configure_telemetry


def main() -> None:
    """Run `dagster dev` with the arguments of this process."""
    configure_telemetry("engarde-dev")
    warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
    (dagster,) = entry_points(group="console_scripts", name="dagster")
    dagster.load()()


if __name__ == "__main__":
    main()
