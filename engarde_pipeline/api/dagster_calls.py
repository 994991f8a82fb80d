"""Dagster, as the API calls it: in a few threads of its own, and never for long."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from dagster import DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from engarde_pipeline.api.errors import unavailable

_THREADS = 8
_SECONDS = 5
"""No request waits longer for Dagster, all in all."""

_FAULTS = (SQLAlchemyError, OSError)

_T = TypeVar("_T")


class Dagster:
    """An instance whose calls block, seen from a service that must not.

    A call that does not end in time is left to itself. It keeps its thread until then, so however slow Dagster's
    storage is, no more than a few threads wait for it.
    """

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._threads = CapacityLimiter(_THREADS)

    async def call(self, function: Callable[[DagsterInstance], _T]) -> _T:
        """Return what `function` makes of the instance.

        Raises:
            Problem: 503, Dagster's storage does not answer in time. Problems of `function` pass through.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                return await to_thread.run_sync(
                    function, self._instance, limiter=self._threads, abandon_on_cancel=True
                )
        except (TimeoutError, *_FAULTS):
            raise unavailable("Dagster") from None

    async def finish(self, function: Callable[[DagsterInstance], _T]) -> _T:
        """Return what `function` makes of the instance, however long that takes.

        Raises:
            Problem: 503, Dagster's storage failed. Problems of `function` pass through.
        """
        try:
            return await to_thread.run_sync(function, self._instance, limiter=self._threads)
        except _FAULTS:
            raise unavailable("Dagster") from None
