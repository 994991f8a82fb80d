"""`engarde plan`: shows which dates are due, and why."""

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from engarde_pipeline.cli.servers import dagster_instance, servers
from engarde_pipeline.cli.terminal import console


def plan(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array with one object per table and date.")
    ] = False,
) -> None:
    """Show which dates the sensors and the hourly schedule will sync next, with the state of each and the reason.

    Changes nothing. Reads only the metadata of BigQuery's tables, not the metrics.
    """
    from engarde_pipeline.bigquery.extraction import Source
    from engarde_pipeline.cli.date_states import state_text
    from engarde_pipeline.core.date_states import DateState, current_calendar, state_of
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate
    from engarde_pipeline.runs.date_states import date_facts, read_failures
    from engarde_pipeline.runs.planning import (
        current_plan,
        dates_with_new_mappings,
        inspect_tables,
        note_moved_rows,
    )

    with servers() as settings:
        database_url = settings.database_url.get_secret_value()
        migrate.check(database_url)
        source = Source(settings)
        with (
            connect(database_url) as connection,
            dagster_instance() as instance,
            connection.transaction(force_rollback=True),
        ):
            note_moved_rows(connection)  # as the sensors do
            due = current_plan(instance, source, connection, inspect_tables(source)).due
            due += dates_with_new_mappings(connection)
            facts = date_facts(connection, [planned.day for planned in due], read_failures(instance))
    calendar = current_calendar()
    states = {(each.table, each.day): state_of(each, calendar) for each in facts}
    due.sort(key=lambda planned: (planned.day, planned.table.target))
    if as_json:
        rows = [
            {
                "table": p.table.target,
                "date": p.day.isoformat(),
                "state": states[p.table, p.day],
                "reason": p.reason,
                "version": p.version,
            }
            for p in due
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not due:
        console.print("Nothing is due: all dates are up to date with BigQuery.")
        return
    table = Table("date", "table", "state", "reason", box=box.SIMPLE_HEAD, show_edge=False)
    for planned in due:
        state = state_text(states[planned.table, planned.day])
        table.add_row(str(planned.day), planned.table.target, state, planned.reason)
    console.print(table)
    is_held = [states[planned.table, planned.day] is DateState.HELD for planned in due]
    if not all(is_held):
        console.print(
            "The sensors and the hourly schedule sync these dates. To sync them now, run `engarde sync`."
            if not any(is_held)
            else "The sensors and the hourly schedule sync these dates, except those that are held. To sync them"
            " now, run `engarde sync`."
        )
    if any(is_held):
        console.print(
            "A held date is tried again, and refused until its load is repaired or it is released; `engarde"
            " status` shows why, and how to release it."
        )
