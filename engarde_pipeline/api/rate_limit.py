"""Rate limits: of the requests of a tenant, and of the failed logins of an address."""

import math
import time
from uuid import UUID

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from engarde_pipeline.api.errors import Problem


class RateLimit:
    """Counts what each of some callers does, in this process."""

    def __init__(self, limit: str) -> None:
        self._limit = parse(limit)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def hit(self, caller: UUID | str) -> None:
        """Count a request of a caller.

        Raises:
            Problem: 429, the caller has exceeded the limit.
        """
        if not await self._limiter.hit(self._limit, str(caller)):
            raise await self._exceeded(caller)

    async def check(self, caller: UUID | str) -> None:
        """Check that a caller may do one more, without counting it; raises as `hit`."""
        if not await self._limiter.test(self._limit, str(caller)):
            raise await self._exceeded(caller)

    async def _exceeded(self, caller: UUID | str) -> Problem:
        window = await self._limiter.get_window_stats(self._limit, str(caller))
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        return Problem(
            429,
            f"The rate limit of {self._limit} is exceeded; try again in {seconds} seconds.",
            {"Retry-After": str(seconds)},
        )
