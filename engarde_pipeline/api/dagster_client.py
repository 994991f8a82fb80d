"""Calls to the Dagster instance: in a few separate threads, and with a timeout."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from dagster import DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from engarde_pipeline.api.errors import unavailable
from engarde_pipeline.dagster_storage import DagsterPostgresException

_MAX_THREADS = 8
_TIMEOUT = 5
"""Seconds that a request waits for Dagster in total."""

_STORAGE_ERRORS = (SQLAlchemyError, DagsterPostgresException, OSError)

_T = TypeVar("_T")


class DagsterClient:
    """Runs blocking calls to a Dagster instance without blocking the event loop.

    A call that times out is abandoned and keeps its thread until it ends. So however slow Dagster's storage is,
    only a fixed number of threads wait for it.
    """

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._threads = CapacityLimiter(_MAX_THREADS)

    async def call(self, function: Callable[[DagsterInstance], _T]) -> _T:
        """Call `function` with the instance and return its result.

        Raises:
            Problem: 503, Dagster's storage does not respond in time. A Problem that `function` raises is raised
                unchanged.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await to_thread.run_sync(
                    function, self._instance, limiter=self._threads, abandon_on_cancel=True
                )
        except (TimeoutError, *_STORAGE_ERRORS):
            raise unavailable("Dagster") from None

    async def call_without_timeout(self, function: Callable[[DagsterInstance], _T]) -> _T:
        """Call `function` with the instance and return its result, however long it takes.

        Raises:
            Problem: 503, Dagster's storage failed. A Problem that `function` raises is raised unchanged.
        """
        try:
            return await to_thread.run_sync(function, self._instance, limiter=self._threads)
        except _STORAGE_ERRORS:
            raise unavailable("Dagster") from None
