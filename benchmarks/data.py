"""The source rows, as BigQuery would send them: one Arrow batch per date, the same on every machine."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.portfolio import Portfolio
from engarde_pipeline.core.metrics import METRIC_DATE

FIRST_DATE = date(2022, 1, 1)
SEED = 20_220_101
CHANGED_SHARE = 10
"""One row in this many differs in the changed data."""

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


def source_rows(portfolio: Portfolio, day: int, changed: bool = False) -> pa.RecordBatch:
    """Return the rows of date number `day`, one per campaign, in an order of its own.

    With `changed` one row in ten has another spend and one more impression.
    """
    random = np.random.default_rng((SEED, day))
    count = portfolio.campaigns
    impressions = random.lognormal(8, 1.2, count).astype(np.int64)
    clicks = (impressions * random.uniform(0, 0.04, count)).astype(np.int64)
    spend = np.round(clicks * random.uniform(0.2, 3.0, count), 6)
    conversions = (clicks * random.uniform(0, 0.1, count)).astype(np.int64)
    revenue = np.round(conversions * random.uniform(10, 90, count), 2)
    if changed:
        restated = (np.arange(count) + day) % CHANGED_SHARE == 0
        impressions = impressions + restated
        spend = np.where(restated, np.round(spend + 0.01, 6), spend)
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


def changed_rows(portfolio: Portfolio, day: int) -> int:
    """Return how many rows of date number `day` the changed data changes."""
    return len(range(-day % CHANGED_SHARE, portfolio.campaigns, CHANGED_SHARE))


def write(path: Path, portfolio: Portfolio, count: int, changed: bool = False) -> Iterator[int]:
    """Write the first `count` dates to an Arrow file, one batch per date; yield each date's number."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as file:
        for day in range(count):
            file.write_batch(source_rows(portfolio, day, changed))
            yield day


def small(portfolio: Portfolio, day: int, campaigns: int) -> pa.RecordBatch:
    """Return the rows of date number `day` for the first `campaigns` campaigns only."""
    rows = source_rows(portfolio, day)
    wanted = pa.array([portfolio.external_id_of(n) for n in range(campaigns)])
    return rows.filter(pc.is_in(rows["campaign_id"], wanted))
