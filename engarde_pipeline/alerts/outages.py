"""Outages: BigQuery or Postgres cannot be read, so nobody knows whether the numbers are up to date."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.faults import message_of
from engarde_pipeline.runs.planning import inspect_tables

TOLERANCE = timedelta(minutes=5)
"""Shorter outages are normal, such as a restart of Postgres, and are not reported."""

PLAN = "plan"

_TITLES = {
    "BigQuery": "BigQuery cannot be read",
    "Postgres": "Postgres cannot be read",
    PLAN: "It cannot be determined which dates have to be synced",
}


@dataclass(frozen=True)
class Outage:
    """Something that cannot be read: since when (seconds since 1970), and the error of the last attempt."""

    since: float
    error: str

    def lasts(self, now: datetime) -> timedelta:
        """Return how long the outage has lasted."""
        return now - datetime.fromtimestamp(self.since, UTC)

    def sentence(self, now: datetime) -> str:
        """Return how long the outage has lasted, as a sentence."""
        minutes = counted(int(self.lasts(now).total_seconds() // 60), "minute")
        since = datetime.fromtimestamp(self.since, UTC)
        return f"This has lasted for {minutes}, since {since:%Y-%m-%d %H:%M} UTC."


def read_errors(open_source: Callable[[], Source], connect: Callable[[], psycopg.Connection]) -> dict[str, str]:
    """Return the error of each server that cannot be read; of BigQuery only metadata is read, free of charge."""
    errors: dict[str, str] = {}
    try:
        inspect_tables(open_source())
    except EngardeError as error:
        errors["BigQuery"] = str(error)
    try:
        connect().close()
    except (EngardeError, psycopg.Error) as error:
        errors["Postgres"] = message_of(error)
    return errors


def outages(errors: Mapping[str, str], before: Mapping[str, Outage], now: datetime) -> dict[str, Outage]:
    """Return the outages of what has an error now, each with the time when it began."""
    return {
        what: Outage(before[what].since if what in before else now.timestamp(), error)
        for what, error in errors.items()
    }


def unreadable(current: Mapping[str, Outage], now: datetime) -> Iterator[Incident]:
    """Yield an incident for each outage that has lasted for five minutes."""
    for what, outage in current.items():
        if outage.lasts(now) >= TOLERANCE:
            yield Incident(
                key=f"unreadable {what}",
                title=_TITLES[what],
                reason=f"{outage.sentence(now)} No date is synced while this lasts. {outage.error}",
                what_to_do="Correct what the error says. `engarde doctor` shows whether everything works again."
                " Then nothing else is needed: the dates that were missed are synced automatically.",
                page="automation",
            )
