"""(a) The limit: COPY BINARY of the finished rows into the very same table, its indexes and foreign keys.

The rows are those our merge wrote, their ids included, in the order in which it wrote them; Postgres itself
encoded them beforehand. What remains is what no loader can avoid.
"""

from benchmarks import data, finished
from benchmarks.merge import sync
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.postgres.connection import connect


def measure(world: World, samples: Samples) -> None:
    """Measure one round in a new database; without finished rows from our merge's round, make them first."""
    if not world.finished_rows.exists():
        _finish(world)
    with world.database() as url, connect(url) as connection:
        settle(connection)
        with world.bars.part("the limit: COPY BINARY"), samples.rate("limit.rate", world.size.rows):
            finished.copy_in(connection, world.finished_rows)


def _finish(world: World) -> None:
    with world.database() as url:
        sync(world, url, data.days(world.size.dates), world.rows, "finishing rows for the limit")
        with connect(url) as connection:
            finished.copy_out(connection, world.finished_rows)
