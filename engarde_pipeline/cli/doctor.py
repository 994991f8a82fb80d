"""`engarde doctor`: checks the setup and says how to fix what is wrong."""

import os
from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from rich.text import Text

from engarde_pipeline.cli.dagster_files import missing_features, storage_advice
from engarde_pipeline.cli.process_checks import Check, Process, checks_of, server_checks
from engarde_pipeline.cli.servers import servers
from engarde_pipeline.cli.terminal import console, visible
from engarde_pipeline.core.errors import EngardeError


def doctor(
    process: Annotated[
        Process | None, typer.Option("--for", help="Check only what this process needs, with only its variables.")
    ] = None,
) -> None:
    """Check settings, connections, permissions and schemas of BigQuery and Postgres.

    Prints one line per check and, if a check fails, how to fix it. The exit code is 1 if a sync would fail, or
    with `--for`, if the process would.
    """
    if process:
        _check_process(process)
        return
    try:
        with servers() as settings:
            console.print("[green]✓[/] settings: all required variables are set and valid")
            failures = _failures(server_checks(settings))
            failures += not _dagster_instance_opens()
    except EngardeError as error:
        _print_failure("settings", error)
        failures = 1
    if failures:
        console.print(f"Failed checks: {failures}. Fix them and run `engarde doctor` again.")
        raise typer.Exit(1)
    console.print("All checks passed. Next: `engarde sync --help` shows how to sync dates.")


def _check_process(process: Process) -> None:
    try:
        failures = _failures(checks_of(process))
    except EngardeError as error:
        _print_failure("settings", error)
        failures = 1
    if failures:
        console.print(f"Failed checks: {failures}. Fix them and run `engarde doctor --for {process}` again.")
        raise typer.Exit(1)
    console.print("All checks passed.")


def _failures(groups: Iterable[list[Check]]) -> int:
    return sum(not all(_passes(*check) for check in checks) for checks in groups)


def _passes(name: str, check: Callable[[], str]) -> bool:
    try:
        found = check()
    except EngardeError as error:
        _print_failure(name, error)
        return False
    console.print(Text.assemble(("✓", "green"), f" {name}: {visible(found)}"))
    return True


def _dagster_instance_opens() -> bool:
    """Check the Dagster instance. A missing feature is only a warning, because a sync works without it."""
    name = "Dagster instance"
    if not os.environ.get("DAGSTER_HOME"):
        home = "DAGSTER_HOME is not set; <ENGARDE_HOME>/dagster is used, with the pipeline's dagster.yaml"
        return _passes(name, lambda: home)
    try:
        warnings = [warning for warning in (missing_features(), storage_advice()) if warning]
    except EngardeError as error:
        _print_failure(name, error)
        return False
    for warning in warnings:
        console.print(Text.assemble(("!", "yellow"), f" {name}: {visible(warning)}"))
    return bool(warnings) or _passes(
        name,
        lambda: "run retries, run monitoring, the run queue and tick retention are on; its history is in Postgres",
    )


def _print_failure(name: str, error: EngardeError) -> None:
    console.print(Text.assemble(("✗", "red"), f" {name}: {visible(str(error))}"))
