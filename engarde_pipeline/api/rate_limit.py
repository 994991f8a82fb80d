"""The rate limit of a tenant."""

import math
import time
from uuid import UUID

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from engarde_pipeline.api.errors import Problem


class RateLimit:
    """Counts the requests of each tenant in this process."""

    def __init__(self, limit: str) -> None:
        self._limit = parse(limit)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def hit(self, tenant_id: UUID) -> None:
        """Count a request.

        Raises:
            Problem: 429, the tenant has exceeded the limit.
        """
        if not await self._limiter.hit(self._limit, str(tenant_id)):
            window = await self._limiter.get_window_stats(self._limit, str(tenant_id))
            seconds = max(1, math.ceil(window.reset_time - time.time()))
            raise Problem(
                429,
                f"The rate limit of {self._limit} is exceeded; try again after the seconds in Retry-After.",
                {"Retry-After": str(seconds)},
            )
