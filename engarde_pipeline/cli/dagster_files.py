"""The pipeline's dagster.yaml and workspace.yaml: their paths, and a check that the instance uses the first."""

import os
import shlex
from pathlib import Path

import engarde_pipeline
from engarde_pipeline.core.errors import EngardeError

INSTANCE = "dagster.yaml"
WORKSPACE = "workspace.yaml"


class DagsterInstanceUnusable(EngardeError):
    """Dagster cannot open the instance in DAGSTER_HOME."""


def shipped(name: str) -> Path:
    """Return the path of the pipeline's file `name`, in the installed package or at the top of a checkout."""
    package = Path(engarde_pipeline.__file__).parent
    installed = package / name
    return installed if installed.exists() else package.parent / name


def missing_features() -> str | None:
    """Return which features of the pipeline's dagster.yaml the instance lacks, and how to add them.

    Raises:
        DagsterInstanceUnusable: Dagster cannot open the instance.
    """
    import yaml  # type: ignore[import-untyped]
    from dagster import DagsterError, DagsterInstance, QueuedRunCoordinator

    own, used = shipped(INSTANCE), Path(os.environ["DAGSTER_HOME"]) / INSTANCE
    try:
        with DagsterInstance.get() as instance:
            features = {
                "run retries": instance.run_retries_enabled,
                "run monitoring": instance.run_monitoring_enabled,
                "the run queue": isinstance(instance.run_coordinator, QueuedRunCoordinator),
                "tick retention": bool(instance.get_settings("retention")),
            }
    except (DagsterError, yaml.YAMLError) as error:
        raise DagsterInstanceUnusable(
            f"Dagster cannot open the instance in DAGSTER_HOME: {error}. Correct {used}; compare it with {own}."
        ) from None
    off = ", ".join(feature for feature, on in features.items() if not on)
    if not off:
        return None
    if used.exists():
        return (
            f"{used} does not enable: {off}. Compare it with the pipeline's file, {own}, and add what is missing."
        )
    return (
        f"{used} does not exist, so these are off: {off}. Run: cp {shlex.quote(str(own))} {shlex.quote(str(used))}"
    )
