"""Comparison of each date's sums in Postgres with those that BigQuery computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.bigquery.sums import sums_by_date as bigquery_sums
from engarde_pipeline.postgres.reads.sums import sums_by_date as postgres_sums


@dataclass(frozen=True)
class DateSums:
    """The sum of each measure of a date and currency, in BigQuery and in Postgres."""

    day: date
    currency: str
    bigquery: dict[str, Decimal]
    postgres: dict[str, Decimal]

    @property
    def differing_measures(self) -> list[str]:
        """The names of the measures whose sums differ."""
        return [name for name, value in self.bigquery.items() if value != self.postgres[name]]


def differing_sums(
    source: Source, table: SourceTable, connection: psycopg.Connection, dates: Sequence[date]
) -> list[DateSums]:
    """Return the sums by date and currency of those `dates` on which they differ; without rows, they are 0.

    Runs one query in BigQuery for the whole range of dates; raises as `bigquery.sums.sums_by_date` does.
    """
    if not dates:  # the first date lies in the future
        return []
    in_bigquery = bigquery_sums(source, table, min(dates), max(dates))
    in_postgres = postgres_sums(connection, table.metric_table, dates)
    zero = dict.fromkeys(table.metric_table.measure_names, Decimal(0))
    wanted = set(dates)
    compared = (
        DateSums(*key, in_bigquery.get(key, zero), in_postgres.get(key, zero))
        for key in sorted({*in_bigquery, *in_postgres})
        if key[0] in wanted
    )
    return [sums for sums in compared if sums.differing_measures]
