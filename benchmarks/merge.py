"""(b) Our merge, from Arrow batches to commit: first load, nothing changed, 10 % changed.

As it ships, over as many connections as ENGARDE_WRITERS says; and a first load over one connection as well, to
compare with the limit like with like.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import date
from itertools import chain
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks import data, finished, steps
from benchmarks.prepared import prepared_source
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.dates import FailedDate
from engarde_pipeline.sync.parallel import sync_in_parallel


class WrongResult(Exception):
    """What was measured did not do what it should have done, so its time means nothing."""


def measure(world: World, samples: Samples) -> None:
    """Measure one round, each way of loading in a new database.

    Each sync is timed from the call to the last commit. WAL is what the server wrote meanwhile; rows written
    are those that a transaction of the sync inserted or updated, by their xmin, and those it deleted.
    """
    rows = world.size.rows
    changed = sum(data.changed_rows(world.portfolio, day, 10) for day in range(world.size.dates))
    with world.database() as url:
        _sync(world, samples, url, "single", world.rows(), Counts(inserted=rows), writers=1)
        if not finished.exist(world, world.size.dates):  # for the limit
            finished.copy_out(world, url, world.size.dates)
    with world.database() as url:
        _sync(world, samples, url, "first", world.rows(), Counts(inserted=rows))
        _sync(world, samples, url, "nothing", world.rows(), Counts(unchanged=rows))
        _sync(world, samples, url, "tenth", world.rows(10), Counts(updated=changed, unchanged=rows - changed))


def sync(
    world: World, url: str, days: Sequence[date], path: Path, label: str, writers: int | None = None
) -> Counts:
    """Sync `days` from the rows at `path`, as an asset does; return what became of them.

    `writers` connections write; without it, as many as an asset uses.

    Raises:
        WrongResult: a date failed.
    """
    total = Counts()
    outcomes = sync_in_parallel(
        CAMPAIGN_METRICS,
        days,
        prepared_source(path),
        lambda: connect(url),
        LoadOptions(uuid4(), 0.5, 2),
        writers or load_pipeline_settings().engarde_writers,
    )
    with closing(outcomes), world.bars.part(label, len(days)) as advance:
        for outcome in chain.from_iterable(outcomes):
            if isinstance(outcome, FailedDate):
                raise WrongResult(f"{outcome.day} failed: {outcome.error}")
            total += outcome.merged.counts
            advance()
    return total


def _sync(
    world: World,
    samples: Samples,
    url: str,
    name: str,
    path: Path,
    expected: Counts,
    writers: int | None = None,
) -> None:
    with connect(url) as observer:
        if not expected.inserted:
            settle(observer)
        xid, rows_before, lsn = _before(observer)
        with samples.rate(f"merge.{name}.rate", world.size.rows), steps.measured() as seconds:
            counts = sync(world, url, data.days(world.size.dates), path, f"our merge, {name}", writers)
        for step in steps.STEPS:
            samples.add(f"merge.{name}.{step}", seconds[step])
            samples.add(f"merge.{name}.{step}.rate", world.size.rows / seconds[step])
        row = observer.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", [lsn]).fetchone()
        assert row is not None
        samples.add(f"merge.{name}.wal", float(row[0]))
        samples.add(f"merge.{name}.written", _written(observer, xid, rows_before))
    for kind, wanted in vars(expected).items():
        if kind in ("inserted", "updated", "unchanged", "deleted") and getattr(counts, kind) != wanted:
            raise WrongResult(f"our merge, {name}: {kind} {getattr(counts, kind)} rows, not {wanted}")


def _before(connection: psycopg.Connection) -> tuple[str, int, str]:
    row = connection.execute(
        "SELECT pg_current_xact_id()::text, (SELECT count(*) FROM campaign_metrics), pg_current_wal_lsn()"
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _written(connection: psycopg.Connection, xid: str, rows_before: int) -> int:
    row = connection.execute(
        """
        SELECT count(*) FILTER (WHERE age(xmin) < age(%(xid)s::xid8::xid)),
               count(*) FILTER (WHERE age(xmin) >= age(%(xid)s::xid8::xid))
        FROM campaign_metrics
        """,
        {"xid": xid},
    ).fetchone()
    assert row is not None
    written, untouched = row
    return int(max(written, rows_before - untouched))
