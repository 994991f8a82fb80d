"""(a) The limit: COPY BINARY of the finished rows into the very same table, its indexes and foreign keys.

The rows are those our merge wrote, their ids included, in the order in which it wrote them; Postgres itself
encoded them beforehand. What remains is what no loader can avoid.
"""

from pathlib import Path

import psycopg

from benchmarks import data
from benchmarks.merge import sync
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.postgres.connection import connect

_BLOCK = 1 << 20


def measure(world: World, samples: Samples) -> None:
    """Measure one round in a new database; the first one makes the finished rows."""
    finished = world.directory / "finished.bin"
    if not finished.exists():
        _finish(world, finished)
    with world.database() as url, connect(url) as connection:
        settle(connection)
        with world.bars.part("the limit: COPY BINARY"), samples.rate("limit.rate", world.size.rows):
            _copy_in(connection, finished)


def _finish(world: World, path: Path) -> None:
    with world.database() as url:
        sync(world, url, data.days(world.size.dates), world.rows, "finishing rows for the limit")
        with connect(url) as connection, path.open("wb") as file:
            # In the order on disk.
            connection.execute("SET max_parallel_workers_per_gather = 0")
            connection.execute("SET synchronize_seqscans = off")
            columns = _columns(connection)
            statement = f"COPY (SELECT {columns} FROM campaign_metrics) TO STDOUT (FORMAT binary)"
            with connection.cursor().copy(statement.encode()) as copy:
                for block in copy:
                    file.write(block)


def _copy_in(connection: psycopg.Connection, path: Path) -> None:
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
