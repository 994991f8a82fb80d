"""Which faults pass by themselves (rule 9): only after these is a run worth another attempt."""

import psycopg

from engarde_pipeline.bigquery.errors import QuotaUsedUp, SourceUnavailable
from engarde_pipeline.postgres import faults
from engarde_pipeline.postgres.connection import DatabaseUnavailable, LoginRefused
from engarde_pipeline.postgres.load.locks import DatesLocked
from engarde_pipeline.postgres.schema.migrate import SchemaNewer


def is_transient(error: BaseException) -> bool:
    """Whether the same sync may succeed a little later.

    BigQuery: no answer, dropped connections, rate limits, 5xx; not a used-up quota, which lasts. Postgres: a
    restart, a lost connection, serialization failures and deadlocks (see `postgres.faults`), a date that another
    sync holds, a schema that is newer than this code until that is deployed; not a refused login, nor a full disk.
    """
    if isinstance(error, psycopg.Error):
        return faults.is_transient(error)
    transient = (SourceUnavailable, DatabaseUnavailable, DatesLocked, SchemaNewer)
    return isinstance(error, transient) and not isinstance(error, (QuotaUsedUp, LoginRefused))
