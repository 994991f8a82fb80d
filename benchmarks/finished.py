"""Finished rows: what our merge wrote, encoded by Postgres itself as COPY BINARY takes it.

They lie in two files, the earlier and the later dates, so that one connection can load them one after the
other, or two connections side by side.
"""

from pathlib import Path

import psycopg

from benchmarks import data
from benchmarks.world import World
from engarde_pipeline.postgres.connection import connect

_BLOCK = 1 << 20


def files(world: World, dates: int) -> list[Path]:
    """Return where the finished rows of the first `dates` dates lie."""
    return [world.directory / f"finished_{half}_of_{dates}.bin" for half in ("earlier", "later")]


def exist(world: World, dates: int) -> bool:
    """Whether the finished rows of the first `dates` dates have been made."""
    return all(path.exists() for path in files(world, dates))


def copy_out(world: World, url: str, dates: int) -> None:
    """Make the files from the rows of `campaign_metrics`, ids included, in the order on disk."""
    middle = data.days(dates)[dates // 2]
    with connect(url) as connection, connection.transaction():
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        connection.execute("SET LOCAL synchronize_seqscans = off")
        # An index would give another order.
        connection.execute("SET LOCAL enable_indexscan = off")
        connection.execute("SET LOCAL enable_bitmapscan = off")
        rows = f"SELECT {columns(connection)} FROM campaign_metrics WHERE metric_date"
        for path, compare in zip(files(world, dates), ("<", ">="), strict=True):
            statement = f"COPY ({rows} {compare} '{middle}') TO STDOUT (FORMAT binary)"
            with connection.cursor().copy(statement.encode()) as copy, path.open("wb") as file:
                for block in copy:
                    file.write(block)


def copy_in(url: str, paths: list[Path]) -> None:
    """Load the rows at `paths` into `campaign_metrics` over one connection, a statement for each file."""
    with connect(url) as connection:
        copy_into(connection, "campaign_metrics", paths)


def copy_into(connection: psycopg.Connection, table: str, paths: list[Path]) -> None:
    """Load the rows at `paths` into `table`, a statement for each file."""
    statement = f"COPY {table} ({columns(connection)}) FROM STDIN (FORMAT binary)"
    for path in paths:
        with connection.cursor().copy(statement.encode()) as copy, path.open("rb") as file:
            while block := file.read(_BLOCK):
                copy.write(block)


def columns(connection: psycopg.Connection) -> str:
    """Return the names of the columns of finished rows.

    Generated columns cannot be given: Postgres computes them, whoever loads the rows.
    """
    rows = connection.execute(
        """
        SELECT quote_ident(column_name)
        FROM information_schema.columns
        WHERE table_name = 'campaign_metrics' AND is_generated = 'NEVER'
        ORDER BY ordinal_position
        """
    ).fetchall()
    return ", ".join(name for (name,) in rows)
