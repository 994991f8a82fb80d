"""(a) The limit: COPY BINARY of the finished rows into the very same table, its indexes and foreign keys.

The rows are those our merge wrote over one connection, their ids included, in the order in which it wrote them;
Postgres itself encoded them beforehand. What remains is what no loader can avoid. Measured over one connection,
and over two side by side, half of the dates each; and over one without the foreign keys, to see what those cost.

A sync has the rows in Postgres, where it validates them, so it cannot end with COPY. What it cannot avoid is
INSERT ... SELECT of the finished rows from a temporary table, a transaction per date; staging them is not timed.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import data, finished
from benchmarks.merge import sync
from benchmarks.samples import Samples
from benchmarks.world import World
from engarde_pipeline.postgres.connection import connect


def measure(world: World, samples: Samples) -> None:
    """Measure one round, each in a new database; without finished rows from our merge's round, make them."""
    if not finished.exist(world, world.size.dates):
        _finish(world)
    files = finished.files(world, world.size.dates)
    for name, shares in (("single", [files]), ("double", [[path] for path in files]), ("free", [files])):
        with world.database() as url, ThreadPoolExecutor(len(shares)) as threads:
            if name == "free":
                _drop_foreign_keys(url)
            with world.bars.part(f"the limit, {name}"), samples.rate(f"limit.{name}.rate", world.size.rows):
                for done in [threads.submit(finished.copy_in, url, share) for share in shares]:
                    done.result()
    with world.database() as url:
        _insert(world, samples, url, files)


def _insert(world: World, samples: Samples, url: str, files: list[Path]) -> None:
    with connect(url) as connection:
        columns = finished.columns(connection)
        connection.execute("CREATE TEMPORARY TABLE finished (LIKE campaign_metrics)")
        finished.copy_into(connection, "finished", files)
        connection.execute("CREATE INDEX ON finished (metric_date, id)")
        connection.execute("ANALYZE finished")
        insert = (
            f"INSERT INTO campaign_metrics ({columns})"
            f" SELECT {columns} FROM finished WHERE metric_date = %s ORDER BY id"
        )
        days = data.days(world.size.dates)
        with (
            world.bars.part("the limit, INSERT", len(days)) as advance,
            samples.rate("limit.insert.rate", world.size.rows),
        ):
            for day in days:
                connection.execute(insert.encode(), [day])
                advance()


def _drop_foreign_keys(url: str) -> None:
    with connect(url) as connection:
        keys = connection.execute(
            "SELECT quote_ident(conname) FROM pg_constraint"
            " WHERE conrelid = 'campaign_metrics'::regclass AND contype = 'f'"
        ).fetchall()
        for (name,) in keys:
            connection.execute(f"ALTER TABLE campaign_metrics DROP CONSTRAINT {name}".encode())


def _finish(world: World) -> None:
    with world.database() as url:
        sync(world, url, data.days(world.size.dates), world.rows(), "finishing rows for the limit", writers=1)
        finished.copy_out(world, url, world.size.dates)
