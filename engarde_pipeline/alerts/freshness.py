"""Freshness: how long dates have been due, and whether that is longer than promised."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import psycopg
from dagster import DagsterInstance

from engarde_pipeline.alerts.conditions import held_facts
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.alerts.outages import Outage
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.runs.planning import current_plan, inspect_tables

PROMISE = timedelta(hours=1)

CHECK_INTERVAL = timedelta(minutes=10)
"""Each check queries partition metadata, which is billed as 10 MB."""

_SHOWN = 10


def due_since(
    instance: DagsterInstance,
    source: Source,
    connection: psycopg.Connection,
    before: Mapping[str, float],
    now: datetime,
) -> dict[str, float]:
    """Return what is due now, as "table date", and when it was first seen as due (seconds since 1970).

    Held dates are left out: they are reported as such, at once.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    plan = current_plan(instance, source, connection, inspect_tables(source))
    held = {(each.table, each.day) for each in held_facts(connection)}
    due = [f"{p.table.target} {p.day}" for p in plan.due if (p.table, p.day) not in held]
    return {what: before.get(what, now.timestamp()) for what in due}


def freshness_lost(since: Mapping[str, float], outages: Mapping[str, Outage], now: datetime) -> Iterator[Incident]:
    """Yield an incident if dates have been due, or could not be compared with BigQuery, for more than an hour."""
    late = sorted(what for what, first in since.items() if now.timestamp() - first > PROMISE.total_seconds())
    blocked = sorted(what for what, outage in outages.items() if outage.lasts(now) > PROMISE)
    if late:
        yield Incident(
            key="freshness",
            title="Postgres is more than an hour behind BigQuery",
            reason=f"{counted(len(late), 'date')} that changed in BigQuery or {'is' if len(late) == 1 else 'are'}"
            " missing in Postgres could not be synced for more than an hour.",
            what_to_do="Run `engarde plan`: it shows what is due and why. In the Dagster UI, check that the sensor"
            " changed_partitions is on, what its last tick reports, and whether its runs fail.",
            job="performance_sync",
            dates=", ".join(late[:_SHOWN]) + (f" and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""),
            page="automation",
        )
    elif blocked:
        outage = outages[blocked[0]]
        yield Incident(
            key="freshness",
            title="Postgres has not been compared with BigQuery for more than an hour",
            reason=f"{outage.sentence(now)} The numbers in Postgres may be out of date. {outage.error}",
            what_to_do="Correct what the error says; `engarde doctor` shows whether everything works again.",
            job="performance_sync",
            page="automation",
        )
