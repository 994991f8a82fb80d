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
    """A date's sum of each measure, in BigQuery and in Postgres."""

    day: date
    bigquery: dict[str, Decimal]
    postgres: dict[str, Decimal]

    @property
    def differing_measures(self) -> list[str]:
        """The names of the measures whose sums differ."""
        return [name for name, value in self.bigquery.items() if value != self.postgres[name]]


def differing_sums(
    source: Source, table: SourceTable, connection: psycopg.Connection, dates: Sequence[date]
) -> list[DateSums]:
    """Return the sums of those `dates` on which they differ; a date without rows has sums of 0.

    Runs one query in BigQuery for the whole range of dates; raises as `bigquery.sums.sums_by_date` does.
    """
    if not dates:  # the first date lies in the future
        return []
    in_bigquery = bigquery_sums(source, table, min(dates), max(dates))
    in_postgres = postgres_sums(connection, table.metric_table, dates)
    zero = dict.fromkeys(table.metric_table.measure_names, Decimal(0))
    compared = (DateSums(day, in_bigquery.get(day, zero), in_postgres.get(day, zero)) for day in dates)
    return [sums for sums in compared if sums.differing_measures]
