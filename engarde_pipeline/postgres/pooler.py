"""Poolers: does the one between us and Postgres keep a session on one connection of the server?

Locks, temporary tables and settings belong to a connection of the server. A pooler in transaction or statement
mode gives every transaction another one, so that two syncs would share or lose them.
"""

import select
import time
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus

from engarde_pipeline.core.errors import EngardeError

_ATTEMPTS = 10
_SECONDS = 2.0
"""How long the second session may wait for a connection of the server."""

_BACKEND = "SELECT pg_backend_pid()"


def keeps_sessions(connection: psycopg.Connection, open_another: Callable[[], psycopg.Connection]) -> bool | None:
    """Return whether the pooler that `connection` leads over is in session mode; None where that cannot be told.

    While a second session is in a transaction, the first asks again which backend it has. In session mode that is
    always the same, and never the second session's. In transaction mode it is one that is free at the moment.
    """
    own = _backend(connection)
    for _ in range(_ATTEMPTS):
        try:
            another = open_another()
        except EngardeError:
            return None  # the pooler admits no more clients
        try:
            if _ask(another, b"BEGIN") is None:
                return None  # every connection of the pool is taken
            others = _ask(another, _BACKEND.encode())
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
    assert row is not None  # noqa: S101  it always has one
    return int(row[0])


def _ask(connection: psycopg.Connection, command: bytes) -> str | None:
    """Return the first value of the answer, an empty text where there is none; None if none comes in time."""
    pgconn = connection.pgconn  # psycopg itself would wait without a limit
    pgconn.send_query(command)
    deadline = time.monotonic() + _SECONDS
    answer = ""
    while True:
        while pgconn.is_busy():
            readable, _, _ = select.select([pgconn.socket], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                return None
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return answer
        if result.status == ExecStatus.FATAL_ERROR:
            if b"transaction blocks not allowed" in result.error_message:
                raise _NoTransactions
            raise psycopg.OperationalError(result.get_error_message())
        if result.ntuples:
            answer = (result.get_value(0, 0) or b"").decode()
