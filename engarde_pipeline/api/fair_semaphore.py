"""Turns at something scarce, shared fairly between tenants."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from engarde_pipeline.api.errors import Problem

_WAITING = 100
"""Requests of one tenant that wait; each of the others is refused at once."""


class Turns:
    """A number of slots. Tenants that wait get the next free one in rotation, whoever has sent more requests.

    No tenant holds more than `most_of_one` slots, so that others find one free.
    """

    def __init__(self, slots: int, most_of_one: int) -> None:
        self._free = slots
        self._most_of_one = most_of_one
        self._held: Counter[UUID] = Counter()
        self._waiting: OrderedDict[UUID, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, tenant_id: UUID) -> AsyncIterator[None]:
        """Hold a slot until the end of the block; wait for it first.

        Raises:
            Problem: 503, too many requests of this tenant wait already.
        """
        await self.take(tenant_id)
        try:
            yield
        finally:
            self.give_back(tenant_id)

    async def take(self, tenant_id: UUID) -> None:
        """Wait for a slot and hold it; who breaks off waiting holds none.

        Raises:
            Problem: 503, too many requests of this tenant wait already.
        """
        queue = self._waiting.setdefault(tenant_id, deque())
        if len(queue) >= _WAITING:
            raise Problem(
                503, "Too many requests of this tenant are waiting; send fewer at a time.", {"Retry-After": "5"}
            )
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(granted)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # cancelled after the slot was granted
                self.give_back(tenant_id)
            raise

    def give_back(self, tenant_id: UUID) -> None:
        """Give a slot back, to whoever is next."""
        self._free += 1
        self._held[tenant_id] -= 1
        if not self._held[tenant_id]:
            del self._held[tenant_id]
        if tenant_id in self._waiting:
            self._waiting.move_to_end(tenant_id)
        self._grant()

    def _grant(self) -> None:
        for tenant_id in list(self._waiting):
            queue = self._waiting[tenant_id]
            while queue and queue[0].done():  # broke off
                queue.popleft()
            if queue and self._free and self._held[tenant_id] < self._most_of_one:
                queue.popleft().set_result(None)
                self._free -= 1
                self._held[tenant_id] += 1
                self._waiting.move_to_end(tenant_id)
            if not queue:
                del self._waiting[tenant_id]
