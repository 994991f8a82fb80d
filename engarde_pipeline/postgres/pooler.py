"""Detects whether a pooler keeps a session on one server connection.

Locks, temporary tables and settings belong to a server connection. A pooler in transaction or statement mode may
run each transaction on another one, so that two syncs would share or lose them.
"""

import select
import time
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus

from engarde_pipeline.core.errors import EngardeError

_ATTEMPTS = 10
_SECONDS = 2.0
"""How long the second session waits for a server connection."""

_BACKEND = "SELECT pg_backend_pid()"


def keeps_sessions(connection: psycopg.Connection, open_another: Callable[[], psycopg.Connection]) -> bool | None:
    """Return whether the pooler of `connection` is in session mode, or None if that cannot be determined.

    While a second session is in a transaction, the first one checks its backend again. In session mode it is
    always the same, and never that of the second session. In transaction mode it is any backend that is free.
    """
    own = _backend(connection)
    for _ in range(_ATTEMPTS):
        try:
            another = open_another()
        except EngardeError:
            return None  # the pooler accepts no more clients
        try:
            if _query(another, b"BEGIN") is None:
                return None  # all connections of the pool are in use
            others = _query(another, _BACKEND.encode())
            if others is None:
                return None
            if str(own) == others or _backend(connection) != own:
                return False
        except _NoTransactions:
            return False
        except psycopg.OperationalError:
            return None
        finally:
            another.close()
    return True


class _NoTransactions(Exception):
    """The pooler refuses transactions: it is in statement mode."""


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute(_BACKEND, prepare=False).fetchone()
    assert row is not None  # noqa: S101  the query returns one row
    return int(row[0])


def _query(connection: psycopg.Connection, command: bytes) -> str | None:
    """Return the first value of the result, or an empty text if there is none; None after a timeout."""
    pgconn = connection.pgconn  # psycopg itself would wait without a timeout
    pgconn.send_query(command)
    deadline = time.monotonic() + _SECONDS
    value = ""
    while True:
        while pgconn.is_busy():
            readable, _, _ = select.select([pgconn.socket], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                return None
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return value
        if result.status == ExecStatus.FATAL_ERROR:
            if b"transaction blocks not allowed" in result.error_message:
                raise _NoTransactions
            raise psycopg.OperationalError(result.get_error_message())
        if result.ntuples:
            value = (result.get_value(0, 0) or b"").decode()
