"""A semaphore whose slots are shared fairly between tenants."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from engarde_pipeline.api.errors import Problem

_MAX_WAITING = 100
"""The waiting requests of one tenant; further ones are refused immediately."""

_ACTIVE_SECONDS = 1
"""How long a tenant is active after it has asked for a slot."""


class FairSemaphore:
    """A fixed number of slots. Waiting tenants get free slots in rotation, however many requests each has sent.

    A tenant gets at most `max_per_tenant` slots, so that it cannot use all of them, and no second one while other
    tenants are active: those that hold a slot or have just asked for one.
    """

    def __init__(self, slots: int, max_per_tenant: int) -> None:
        self._free = slots
        self._max_per_tenant = max_per_tenant
        self._asked: OrderedDict[UUID, float] = OrderedDict()  # when, the earliest first
        self._held: Counter[UUID] = Counter()
        self._waiting: OrderedDict[UUID, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def slot(self, tenant_id: UUID) -> AsyncIterator[None]:
        """Wait for a slot and hold it until the end of the block.

        Raises:
            Problem: 503, too many requests of this tenant are waiting already.
        """
        await self.acquire(tenant_id)
        try:
            yield
        finally:
            self.release(tenant_id)

    async def acquire(self, tenant_id: UUID) -> None:
        """Wait for a slot and hold it. If the wait is cancelled, no slot is held.

        Raises:
            Problem: 503, too many requests of this tenant are waiting already.
        """
        queue = self._waiting.setdefault(tenant_id, deque())
        if len(queue) >= _MAX_WAITING:
            raise Problem(
                503,
                "Too many requests of this tenant are waiting; send fewer requests at the same time.",
                {"Retry-After": "5"},
            )
        loop = asyncio.get_running_loop()
        self._asked[tenant_id] = loop.time()
        self._asked.move_to_end(tenant_id)
        granted: asyncio.Future[None] = loop.create_future()
        queue.append(granted)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # cancelled after the slot was granted
                self.release(tenant_id)
            raise

    def release(self, tenant_id: UUID) -> None:
        """Release a slot of the tenant, which the next waiting tenant gets."""
        self._free += 1
        self._held[tenant_id] -= 1
        if not self._held[tenant_id]:
            del self._held[tenant_id]
        if tenant_id in self._waiting:
            self._waiting.move_to_end(tenant_id)
        self._grant()

    def _grant(self) -> None:
        """Give free slots to waiting requests, one at a time, in rotation."""
        while any(self._grant_one(tenant_id) for tenant_id in list(self._waiting)):
            pass

    def _grant_one(self, tenant_id: UUID) -> bool:
        queue = self._waiting[tenant_id]
        while queue and queue[0].done():  # cancelled
            queue.popleft()
        is_granted = bool(queue) and self._free > 0 and self._held[tenant_id] < self._limit(tenant_id)
        if is_granted:
            queue.popleft().set_result(None)
            self._free -= 1
            self._held[tenant_id] += 1
            self._waiting.move_to_end(tenant_id)
        if not queue:
            del self._waiting[tenant_id]
        return is_granted

    def _limit(self, tenant_id: UUID) -> int:
        earliest = asyncio.get_running_loop().time() - _ACTIVE_SECONDS
        while self._asked and next(iter(self._asked.values())) < earliest:
            self._asked.popitem(last=False)
        has_others = any(len(active) > (tenant_id in active) for active in (self._asked, self._held))
        return 1 if has_others else self._max_per_tenant
