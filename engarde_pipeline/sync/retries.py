"""Retries inside a run, for transient errors that last seconds (rule 9); after others the run is retried.

Calls of BigQuery have their own retries, see `bigquery.client`.
"""

import logging

import psycopg
from tenacity import (
    before_sleep_log,
    retry,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential_jitter,
)

from engarde_pipeline.postgres.connection import DatabaseUnavailable
from engarde_pipeline.sync.faults import is_transient

logger = logging.getLogger(__name__)


def _is_transient_in_postgres(error: BaseException) -> bool:
    # Calls of BigQuery and the locks of dates have their own retries.
    return isinstance(error, psycopg.Error | DatabaseUnavailable) and is_transient(error)


after_conflict = retry(
    retry=retry_if_exception_type((psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)),
    wait=wait_exponential_jitter(multiplier=0.1, max=5),
    stop=stop_after_delay(30),
    before_sleep=before_sleep_log(logger, logging.WARNING),
    reraise=True,
)
"""Retries a transaction that Postgres aborted because of a conflict with another one."""

after_lost_connection = retry(
    retry=retry_if_exception(_is_transient_in_postgres),
    wait=wait_exponential_jitter(multiplier=0.5, max=10),
    stop=stop_after_delay(90),
    before_sleep=before_sleep_log(logger, logging.WARNING),
    reraise=True,
)
"""Retries a function that opens a connection, after a restart of Postgres or a network error.

A wrong address raises the same error, so connect once without retries before.
"""
