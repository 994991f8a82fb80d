"""The source rows, as BigQuery would send them: one Arrow batch per date, the same on every machine."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.portfolio import Portfolio
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import METRIC_DATE

FIRST_DATE = date(2022, 1, 1)
SEED = 20_220_101
PERCENTS = (0, 1, 10, 100)
"""Shares of the rows that differ from what was loaded before, as a benchmark loads them one after another."""

SCHEMA = pa.schema(
    [
        (METRIC_DATE, pa.date32()),
        ("tenant_id", pa.string()),
        ("campaign_id", pa.string()),
        ("platform", pa.string()),
        ("impressions", pa.int64()),
        ("clicks", pa.int64()),
        ("spend", pa.float64()),
        ("conversions", pa.int64()),
        ("revenue", pa.float64()),
    ]
)


def days(count: int) -> list[date]:
    """Return the first `count` dates."""
    return [FIRST_DATE + timedelta(days=n) for n in range(count)]


def recent_days(count: int) -> list[date]:
    """Return the last `count` dates, which the sensors look at."""
    return [today() - timedelta(days=n) for n in reversed(range(count))]


def number_of(day: date) -> int:
    """Return the number of a date: what makes its rows."""
    return (day - FIRST_DATE).days


def source_rows(portfolio: Portfolio, day: int, percent: int = 0) -> pa.RecordBatch:
    """Return the rows of date number `day`, one per campaign, in an order of its own.

    `percent` of the rows are restated, by an amount of that percentage's own. They include the rows that a
    smaller percentage restates: loaded in the order of PERCENTS, that share of the rows differs each time.
    """
    random = np.random.default_rng((SEED, day))
    count = portfolio.campaigns
    impressions = random.lognormal(8, 1.2, count).astype(np.int64)
    clicks = (impressions * random.uniform(0, 0.04, count)).astype(np.int64)
    spend = np.round(clicks * random.uniform(0.2, 3.0, count), 6)
    conversions = (clicks * random.uniform(0, 0.1, count)).astype(np.int64)
    revenue = np.round(conversions * random.uniform(10, 90, count), 2)
    if percent:
        restated = (np.arange(count) + day) % (100 // percent) == 0
        impressions = impressions + percent * restated
        spend = np.where(restated, np.round(spend + percent / 100, 6), spend)
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array(np.full(count, (FIRST_DATE - date(1970, 1, 1)).days + day, np.int32)).cast(pa.date32()),
            *portfolio.keys.values(),
            *map(pa.array, (impressions, clicks, spend, conversions, revenue)),
        ],
        schema=SCHEMA,
    )
    # BigQuery's order is no order of ours: no index may profit from one by accident.
    return rows.take(pa.array(random.permutation(count)))


def changed_rows(portfolio: Portfolio, day: int, percent: int) -> int:
    """Return how many rows of date number `day` are restated in `percent` percent."""
    return len(range(-day % (100 // percent), portfolio.campaigns, 100 // percent)) if percent else 0


def write(path: Path, portfolio: Portfolio, count: int, percent: int = 0) -> Iterator[int]:
    """Write the first `count` dates to an Arrow file, one batch per date; yield each date's number."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as file:
        for day in range(count):
            file.write_batch(source_rows(portfolio, day, percent))
            yield day


def small(portfolio: Portfolio, day: int, campaigns: int) -> pa.RecordBatch:
    """Return the rows of date number `day` for the first `campaigns` campaigns only."""
    rows = source_rows(portfolio, day)
    wanted = pa.array([portfolio.external_id_of(n) for n in range(campaigns)])
    return rows.filter(pc.is_in(rows["campaign_id"], wanted))
