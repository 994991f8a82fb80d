"""Failed ticks: how a sensor or schedule ends a tick in which it could not read BigQuery or Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from dagster import DagsterError

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.faults import message_of


class TickFailed(DagsterError):
    """A sensor or schedule could not read BigQuery or Postgres; the message says why and what to do.

    Dagster shows a `DagsterError` as it is. It wraps any other exception in an error whose message only names the
    sensor.
    """


@contextmanager
def failing_tick(what_failed: str) -> Iterator[None]:
    """Fail the tick with one sentence if an expected error is raised.

    Nothing is lost: Dagster keeps the cursor of a sensor and evaluates it again at its next interval. It repeats
    the tick of a schedule every minute (`max_tick_retries` in dagster.yaml).
    """
    try:
        yield
    except (EngardeError, psycopg.Error) as error:
        raise TickFailed(f"{what_failed}: {message_of(error)}") from None
