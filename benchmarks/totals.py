"""(f) The totals on the campaign spaces: all of them, and after one date changed, beside the old design's."""

import time
from calendar import monthrange
from collections.abc import Sequence
from datetime import date

from benchmarks import data, old_design
from benchmarks.merge import WrongResult, sync
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import tables
from engarde_pipeline.postgres.totals.campaign_totals import update_totals, wrong_totals
from engarde_pipeline.postgres.totals.changed_dates import note_changed


def measure(url: str, world: World, samples: Samples, dates: int, number: int) -> None:
    """Measure round `number` on a history of `dates` dates; each round changes another date."""
    old_design.measure_totals(url, world, samples, dates)
    with world.bars.part("one bare sum of the rows"):
        _sum_rows(url, samples, f"totals.bare.{dates}")
    _forget(url, dates)
    with world.bars.part("one bare sum of the rows, written"):
        _sum_and_write(url, samples, f"totals.written.{dates}")
    with world.bars.part("sums by month, written"):
        _sum_by_month(url, samples, f"totals.months.{dates}")
    _forget(url, dates)
    with world.bars.part("totals of all campaigns"):
        _update(url, samples, f"totals.all.{dates}")
    path = world.rows(10 if number % 2 == 0 else 0)
    days = _of_full_months(data.days(dates))
    day = days[-1 - number // 2 % len(days)]
    sync(world, url, [day], path, "changing one date")
    with world.bars.part("totals after one changed date"):
        _update(url, samples, f"totals.one.{dates}")


def _of_full_months(days: Sequence[date]) -> Sequence[date]:
    """Return the days whose whole month is among them, so that every history has as many rows to sum again."""
    first, last = days[0], days[-1]
    full = [
        day
        for day in days
        if day.replace(day=1) >= first and day.replace(day=monthrange(day.year, day.month)[1]) <= last
    ]
    return full or days


def _forget(url: str, dates: int) -> None:
    # As after a first load: every date is noted as changed, and no sum is kept.
    names = [f"total_{name}" for name in CAMPAIGN_METRICS.measure_names]
    with connect(url) as connection:
        for day in data.days(dates):
            note_changed(connection, day)
        connection.execute(f"TRUNCATE {tables.campaign_space_months.name}".encode())
        connection.execute(f"UPDATE campaign_spaces SET {', '.join(f'{name} = NULL' for name in names)}".encode())


def _sum_rows(url: str, samples: Samples, name: str) -> None:
    # What any way of summing every row costs at the least: nothing is kept, no ratio computed, no total written.
    sums = ", ".join(f"sum({name})" for name in CAMPAIGN_METRICS.measure_names)
    with connect(url) as connection:
        settle(connection)
        started = time.perf_counter()
        connection.execute(f"SELECT campaign_space_id, {sums} FROM campaign_metrics GROUP BY 1".encode())
        samples.add(name, time.perf_counter() - started)


def _sum_and_write(url: str, samples: Samples, name: str) -> None:
    # What any way of updating every total costs at the least: still nothing is kept for the next changed date.
    names = CAMPAIGN_METRICS.measure_names
    sums = ", ".join(f"sum({name}) AS {name}" for name in names)
    totals = ", ".join(f"total_{name} = s.{name}" for name in names)
    with connect(url) as connection:
        settle(connection)
        started = time.perf_counter()
        query = f"SELECT campaign_space_id, {sums} FROM campaign_metrics GROUP BY 1"
        connection.execute(f"CREATE TEMPORARY TABLE sums AS {query}".encode())
        connection.execute(
            f"UPDATE campaign_spaces c SET {totals} FROM sums s WHERE s.campaign_space_id = c.id".encode()
        )
        samples.add(name, time.perf_counter() - started)


def _sum_by_month(url: str, samples: Samples, name: str) -> None:
    # What it costs, in one plain statement, to keep sums per month for the next changed date: no total is written.
    names = CAMPAIGN_METRICS.measure_names
    sums = ", ".join(f"sum({name})" for name in names)
    with connect(url) as connection:
        settle(connection)
        started = time.perf_counter()
        connection.execute(
            "CREATE TABLE sums_by_month (campaign_space_id uuid, month date,"
            f" {', '.join(f'{name} numeric' for name in names)}, PRIMARY KEY (campaign_space_id, month))".encode()
        )
        connection.execute(
            f"INSERT INTO sums_by_month SELECT campaign_space_id, date_trunc('month', metric_date), {sums}"
            " FROM campaign_metrics GROUP BY 1, 2".encode()
        )
        samples.add(name, time.perf_counter() - started)
        connection.execute("DROP TABLE sums_by_month")


def _update(url: str, samples: Samples, name: str) -> None:
    with connect(url) as connection:
        settle(connection)
        started = time.perf_counter()
        update_totals(connection)
        samples.add(name, time.perf_counter() - started)
        if wrong := wrong_totals(connection).affected:
            raise WrongResult(f"{name}: the totals of {wrong} campaign spaces are not the sums of their rows")
