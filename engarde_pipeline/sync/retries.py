"""What is tried again inside a run (rule 9), because it passes in seconds; the rest is the run's own retries.

BigQuery's calls have retries of their own, see `bigquery.client`.
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


def _passes(error: BaseException) -> bool:
    """Whether it is Postgres' fault, and transient; BigQuery's calls and the locks of dates wait by themselves."""
    return isinstance(error, psycopg.Error | DatabaseUnavailable) and is_transient(error)


after_conflict = retry(
    retry=retry_if_exception_type((psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)),
    wait=wait_exponential_jitter(multiplier=0.1, max=5),
    stop=stop_after_delay(30),
    before_sleep=before_sleep_log(logger, logging.WARNING),
    reraise=True,
)
"""Tries a transaction again that Postgres ended in favour of another one."""

after_lost_connection = retry(
    retry=retry_if_exception(_passes),
    wait=wait_exponential_jitter(multiplier=0.5, max=10),
    stop=stop_after_delay(90),
    before_sleep=before_sleep_log(logger, logging.WARNING),
    reraise=True,
)
"""Tries again what opens a connection of its own, after a restart of Postgres or a fault of the network.

A wrong address looks alike: connect once before, so that it fails at once.
"""
