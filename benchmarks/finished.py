"""Finished rows: what our merge wrote, encoded by Postgres itself as COPY BINARY takes it."""

from pathlib import Path

import psycopg

_BLOCK = 1 << 20


def copy_out(connection: psycopg.Connection, path: Path) -> None:
    """Write the rows of `campaign_metrics` to `path`, ids included, in the order on disk."""
    statement = f"COPY (SELECT {_columns(connection)} FROM campaign_metrics) TO STDOUT (FORMAT binary)"
    with connection.transaction(), path.open("wb") as file:
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        connection.execute("SET LOCAL synchronize_seqscans = off")
        with connection.cursor().copy(statement.encode()) as copy:
            for block in copy:
                file.write(block)


def copy_in(connection: psycopg.Connection, path: Path) -> None:
    """Load the rows at `path` into `campaign_metrics`, in one statement."""
    statement = f"COPY campaign_metrics ({_columns(connection)}) FROM STDIN (FORMAT binary)"
    with connection.cursor().copy(statement.encode()) as copy, path.open("rb") as file:
        while block := file.read(_BLOCK):
            copy.write(block)


def _columns(connection: psycopg.Connection) -> str:
    rows = connection.execute(
        """
        SELECT quote_ident(column_name)
        FROM information_schema.columns
        WHERE table_name = 'campaign_metrics' AND is_generated = 'NEVER'
        ORDER BY ordinal_position
        """
    ).fetchall()
    return ", ".join(name for (name,) in rows)
