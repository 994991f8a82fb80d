"""Freshness: how long dates have been due, and whether that is longer than promised."""

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
"""Each check queries partition metadata, which is billed as 10 MB."""

_UNREACHABLE = ("BigQuery", "Postgres")


def due_since(
    instance: DagsterInstance,
    open_source: Callable[[], Source],
    connect: Callable[[], psycopg.Connection],
    before: Mapping[str, float],
    now: datetime,
) -> dict[str, float]:
    """Return what is due now, as "table date", and when it was first seen as due (seconds since 1970).

    If BigQuery or Postgres cannot be read, its name is due, too, and everything in `before` stays due.
    """
    try:
        source = open_source()
        with connect() as connection:
            plan = current_plan(instance, source, connection, inspect_tables(source))
        due = [f"{planned.table.source} {planned.day}" for planned in plan.due]
    except SourceError:
        due = [*before, "BigQuery"]
    except EngardeError:
        due = [*before, "Postgres"]
    return {what: before.get(what, now.timestamp()) for what in due}


def freshness_lost(since: Mapping[str, float], now: datetime) -> Iterator[Incident]:
    """Yield an incident if anything has been due for more than an hour."""
    late = sorted(what for what, first in since.items() if now.timestamp() - first > PROMISE.total_seconds())
    if late:
        yield Incident(
            key="freshness",
            title="Postgres is more than an hour behind BigQuery",
            reason=" ".join(f"{server} cannot be read." for server in _UNREACHABLE if server in late)
            or f"{len(late)} dates have been due for more than an hour.",
            what_to_do="Run `engarde plan`: it shows what is due and why. In the Dagster UI, check that the sensor"
            " changed_partitions is running, what its last tick reports, and whether its runs fail.",
            job="performance_sync",
            dates=", ".join(late[:10]) + (" ..." if len(late) > 10 else ""),
        )
