"""Freshness: since when a date has been due, and whether that is longer than promised."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

import psycopg
from dagster import DagsterInstance

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.bigquery.errors import SourceError
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.runs.planning import current_plan, inspect_tables

PROMISE = timedelta(hours=1)

CHECK_INTERVAL = timedelta(minutes=10)
"""A look is a query on partition metadata, 10 MB: not every minute."""

_UNREACHABLE = ("BigQuery", "Postgres")


def due_since(
    instance: DagsterInstance,
    open_source: Callable[[], Source],
    connect: Callable[[], psycopg.Connection],
    before: Mapping[str, float],
    now: datetime,
) -> dict[str, float]:
    """Return what is due now, "table date", and since when (seconds since 1970) it has been seen so.

    Where BigQuery or Postgres cannot be read, all is behind, and nothing of what was due is forgotten.
    """
    try:
        source = open_source()
        with connect() as connection:
            plan = current_plan(instance, source, connection, inspect_tables(source))
        due = [f"{planned.table.source} {planned.day}" for planned in plan]
    except SourceError:
        due = [*before, "BigQuery"]
    except EngardeError:
        due = [*before, "Postgres"]
    return {what: before.get(what, now.timestamp()) for what in due}


def freshness_lost(since: Mapping[str, float], now: datetime) -> Iterator[Incident]:
    """Something has been due for more than an hour."""
    late = sorted(what for what, first in since.items() if now.timestamp() - first > PROMISE.total_seconds())
    if late:
        yield Incident(
            key="freshness",
            title="Postgres is more than an hour behind BigQuery",
            reason=" ".join(f"{server} cannot be read." for server in _UNREACHABLE if server in late)
            or f"{len(late)} dates have been due for more than an hour.",
            what_to_do="`engarde plan` shows what is due and why. Check in the Dagster UI that the sensor"
            " changed_partitions is running, what its last tick says, and whether its runs fail.",
            job="performance_sync",
            dates=", ".join(late[:10]) + (" ..." if len(late) > 10 else ""),
        )
