"""Waits for advisory locks: the log names the holder, and a sync that is asked to end stops waiting."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.connection import run_of

logger = logging.getLogger(__name__)

MAXIMUM_WAIT = timedelta(minutes=10)
REPORT_INTERVAL = timedelta(minutes=1)

_ATTEMPT = "1s"
"""How long Postgres waits before the sync looks again whether it was asked to end."""

# Within a transaction, pg_stat_activity shows what it showed at first.
_HOLDER = """
SELECT l.pid, coalesce(a.application_name, '')
FROM pg_stat_clear_snapshot(), pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND {condition}
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class StillLocked(EngardeError):
    """Another sync did not release a lock within the maximum wait."""


class WaitStopped(EngardeError):
    """The sync was asked to end while it waited for a lock."""


@dataclass(frozen=True)
class AdvisoryLock:
    """An advisory lock.

    `target` says what it protects, for messages. `arguments` are those of Postgres' lock functions, and
    `condition` finds the lock in pg_locks (alias l); both bind `parameters`. The lock is held until the end of the
    transaction if `is_transactional`, or else of the session.
    """

    target: str
    arguments: str
    condition: str
    parameters: dict[str, object]
    is_transactional: bool = False


@dataclass(frozen=True)
class LockWait:
    """How a sync waits for a lock.

    `is_stopping` returns whether the sync was asked to end. `describe_run` returns how the log calls a run.
    """

    is_stopping: Callable[[], bool] = lambda: False
    describe_run: Callable[[str], str] = "run {}".format


DEFAULT_WAIT = LockWait()


def acquire(connection: psycopg.Connection, lock: AdvisoryLock, wait: LockWait) -> None:
    """Take a lock in the caller's transaction; wait while another connection holds it.

    Raises:
        StillLocked: the other connection did not release it in time.
        WaitStopped: the sync was asked to end.
    """
    kind = "xact_" if lock.is_transactional else ""
    attempt = f"SELECT pg_try_advisory_{kind}lock({lock.arguments})".encode()
    row = connection.execute(attempt, lock.parameters).fetchone()
    if row and row[0]:
        return
    started = reported = time.monotonic()
    logger.info(
        "The lock of %s is held by %s. Waiting until it is released, at most %s.",
        lock.target,
        _holder(connection, lock, wait),
        _minutes(MAXIMUM_WAIT.total_seconds()),
    )
    while not _acquired_within(connection, f"SELECT pg_advisory_{kind}lock({lock.arguments})", lock.parameters):
        now = time.monotonic()
        if wait.is_stopping():
            raise WaitStopped(f"The sync was asked to end while it waited for the lock of {lock.target}.")
        if now - started >= MAXIMUM_WAIT.total_seconds():
            raise StillLocked(
                f"The lock of {lock.target} has not been released for {_minutes(now - started)}; it is held by"
                f" {_holder(connection, lock, wait)}. Wait until that ends (see Runs in Dagster), or cancel it."
            )
        if now - reported >= REPORT_INTERVAL.total_seconds():
            reported = now
            logger.info(
                "The lock of %s is still held by %s. Waiting for %s so far.",
                lock.target,
                _holder(connection, lock, wait),
                _minutes(now - started),
            )
    logger.info("The lock of %s was released after %.0f seconds.", lock.target, time.monotonic() - started)


def _acquired_within(connection: psycopg.Connection, statement: str, parameters: dict[str, object]) -> bool:
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{_ATTEMPT}'".encode())
            connection.execute(statement.encode(), parameters)
            # The caller's transaction goes on without it.
            connection.execute("SET LOCAL lock_timeout = 0")
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _holder(connection: psycopg.Connection, lock: AdvisoryLock, wait: LockWait) -> str:
    row = connection.execute(_HOLDER.format(condition=lock.condition).encode(), lock.parameters).fetchone()
    if row is None:
        return "a sync that is just ending"
    pid, name = row
    run_id = run_of(name)
    return wait.describe_run(run_id) if run_id else f"a connection that is no run's (pid {pid} in Postgres)"


def _minutes(seconds: float) -> str:
    return counted(round(seconds / 60), "minute")
