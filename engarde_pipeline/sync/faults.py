"""Which errors are transient, so that a run is retried (rule 9)."""

import psycopg

from engarde_pipeline.bigquery.errors import QuotaUsedUp, SourceUnavailable
from engarde_pipeline.postgres import faults
from engarde_pipeline.postgres.advisory_locks import StillLocked, WaitStopped
from engarde_pipeline.postgres.connection import DatabaseUnavailable, LoginRefused
from engarde_pipeline.postgres.schema.migrate import SchemaNewer


def is_transient(error: BaseException) -> bool:
    """Return whether the same sync may succeed a little later.

    Transient in BigQuery: no response, dropped connections, rate limits, 5xx; but not a used-up quota. Transient
    in Postgres: a restart, a lost connection, serialization failures and deadlocks (see `postgres.faults`), a date
    that another sync is writing, and a schema that is newer than this code, until that is deployed; but not a
    rejected login or a full disk.
    """
    if isinstance(error, psycopg.Error):
        return faults.is_transient(error)
    transient = (SourceUnavailable, DatabaseUnavailable, StillLocked, WaitStopped, SchemaNewer)
    return isinstance(error, transient) and not isinstance(error, (QuotaUsedUp, LoginRefused))
