"""`engarde doctor`: checks the setup and says how to fix what is wrong."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engarde_pipeline.cli.dagster_files import missing_features, storage_advice
from engarde_pipeline.cli.process_checks import Check, Process, checks_of, server_checks
from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import console, visible
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import Settings, load_pipeline_settings, unknown_variables

if TYPE_CHECKING:
    from engarde_pipeline.runs.date_states import Failures


def doctor(
    process: Annotated[
        Process | None, typer.Option("--for", help="Check only what this process needs, with only its variables.")
    ] = None,
) -> None:
    """Check settings, connections, permissions and schemas of BigQuery and Postgres.

    Prints one line per check and, if a check fails, how to fix it; also how many dates are held or failed. The
    exit code is 1 if a sync would fail, or with `--for`, if the process would.
    """
    if process:
        _check_process(process)
        return
    try:
        with servers() as settings:
            console.print("[green]✓[/] settings: all required variables are set and valid")
            _print_unknown_variables()
            failures = _failures(server_checks(settings))
            failures += not _dagster_instance_opens()
            needs_person = _print_dates(settings)
    except EngardeError as error:
        _print_failure("settings", error)
        failures = 1
    if failures:
        console.print(f"Failed checks: {failures}. Fix them and run `engarde doctor` again.")
        raise typer.Exit(1)
    console.print(
        "All checks passed, but dates need a person. Next: `engarde status`."
        if needs_person
        else "All checks passed. Next: `engarde sync --help` shows how to sync dates."
    )


def _check_process(process: Process) -> None:
    _print_unknown_variables()
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


def _print_unknown_variables() -> None:
    for name, meant in sorted(unknown_variables().items()):
        text = (
            f" settings: {visible(name)} is no variable of the pipeline and has no effect; did you mean {meant}?"
        )
        console.print(Text.assemble(("!", "yellow"), text))


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


def _print_dates(settings: Settings) -> bool:
    """Print how many dates are held or failed, and return whether any is. The setup is not wrong because of it."""
    import psycopg

    from engarde_pipeline.cli.date_states import counted_states
    from engarde_pipeline.core.date_states import DateState, current_calendar, state_of
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.date_states import date_facts

    database_url = settings.database_url.get_secret_value()
    try:
        migrate.check(database_url)
        with connect(database_url) as connection:
            facts = date_facts(connection, [], _failures_in_history())
    except (EngardeError, psycopg.Error):
        return False  # a check above has printed why
    calendar = current_calendar()
    states = [state_of(each, calendar) for each in facts]
    if refused := counted_states(state for state in states if state in (DateState.HELD, DateState.FAILED)):
        console.print(Text.assemble(("!", "yellow"), f" dates: {refused}; `engarde status` shows why"))
    else:
        console.print(Text.assemble(("✓", "green"), " dates: none is held or failed"))
    return bool(refused)


def _failures_in_history() -> "Failures":
    from engarde_pipeline.runs.date_states import read_failures

    home = load_pipeline_settings().engarde_home / "dagster"
    if not os.environ.get("DAGSTER_HOME") and not home.is_dir():
        return {}  # there was no sync yet
    try:
        with dagster_instance() as instance:
            return read_failures(instance)
    except EngardeError:
        return {}  # a check above has printed why


def _print_failure(name: str, error: EngardeError) -> None:
    console.print(Text.assemble(("✗", "red"), f" {name}: {visible(str(error))}"))
