"""Queries whose results are shared by the requests that ask for the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SharedQueries(Generic[_T]):
    """Runs one query for each key at a time.

    Requests that arrive while it runs share the next one, because the running one may have begun before a change
    that they must see.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[_T]] = {}
        self._next: dict[Hashable, asyncio.Task[_T]] = {}

    async def get(self, key: Hashable, query: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of a query that begins after this call, or raise its exception."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run_next(key, query))
            task.add_done_callback(_retrieve_exception)
            self._next[key] = task
        return await asyncio.shield(task)  # other requests may wait for it

    async def _run_next(self, key: Hashable, query: Callable[[], Awaitable[_T]]) -> _T:
        if running := self._running.get(key):
            await asyncio.wait([running])
        self._running[key] = self._next.pop(key)
        try:
            return await query()
        finally:
            del self._running[key]


def _retrieve_exception(task: "asyncio.Task[_T]") -> None:
    # The waiting requests get the exception; without any, asyncio would log that it was never retrieved.
    if not task.cancelled():
        task.exception()
