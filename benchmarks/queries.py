"""(g) The API's queries as plain SQL: one tenant's last 30 dates in groups, one campaign's last 90 dates."""

import time
from datetime import timedelta
from statistics import quantiles
from typing import Any

import psycopg

from benchmarks import data
from benchmarks.samples import Samples
from benchmarks.world import World
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in CAMPAIGN_METRICS.measure_names)

# Ratios of a group's sums, never averages of ratios.
_RATIOS = ", ".join(
    f"{ratio.factor}::numeric * {ratio.numerator} / nullif({ratio.denominator}, 0) AS {ratio.name}"
    for ratio in CAMPAIGN_METRICS.ratios
)

_GROUPS = """
SELECT g.*, {ratios}
FROM (
    SELECT {column}, {sums}
    FROM campaign_metrics
    WHERE {subject} AND metric_date BETWEEN %(start)s AND %(end)s
    GROUP BY 1
) g
ORDER BY 1
"""

_TENANT = "tenant_id = %(tenant)s"
_CAMPAIGN = f"{_TENANT} AND campaign_space_id = %(campaign)s"

# name: (group by, whose rows, dates)
QUERIES = {
    "tenant, 30 dates, by date": ("metric_date", _TENANT, 30),
    "tenant, 30 dates, by campaign": ("campaign_space_id", _TENANT, 30),
    "tenant, 30 dates, by platform": ("platform", _TENANT, 30),
    "campaign, 90 dates": ("metric_date", _CAMPAIGN, 90),
}


def measure(connection: psycopg.Connection, world: World, samples: Samples, dates: int) -> None:
    """Measure each query's milliseconds, for another tenant and campaign each time: p50 and p99."""
    for name, (column, subject, span) in QUERIES.items():
        statement = statement_of(column, subject)
        took = []
        with world.bars.part(name, world.size.queries) as advance:
            for number in range(world.size.queries):
                took.append(_milliseconds(connection, statement, values_of(world, dates, span, number)))
                advance()
        percentiles = quantiles(took, n=100, method="inclusive")
        samples.add(f"query.{name}.p50.{dates}", percentiles[49])
        samples.add(f"query.{name}.p99.{dates}", percentiles[98])


def statement_of(column: str, subject: str) -> bytes:
    """Return a query's SQL."""
    return _GROUPS.format(column=column, subject=subject, sums=_SUMS, ratios=_RATIOS).encode()


def values_of(world: World, dates: int, span: int, number: int, spread: bool = False) -> dict[str, Any]:
    """Return what a query asks for at its `number`th time: another tenant and campaign each time.

    With `spread` other dates, too, once each tenant had its turn.
    """
    campaign = 7_919 * number % world.size.campaigns
    back = number // world.size.tenants % max(1, dates - span + 1) if spread else 0
    end = data.days(dates)[-1 - back]
    return {
        "tenant": world.portfolio.tenant_of(campaign),
        "campaign": world.portfolio.campaign_space_ids[campaign],
        "start": end - timedelta(days=span - 1),
        "end": end,
    }


def _milliseconds(connection: psycopg.Connection, statement: bytes, values: dict[str, Any]) -> float:
    started = time.perf_counter()
    rows = connection.execute(statement, values).fetchall()
    took = 1000 * (time.perf_counter() - started)
    assert rows, "a query that finds nothing measures nothing"
    return took
