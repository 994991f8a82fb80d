"""Compression of large responses."""

import asyncio
import gzip
from collections.abc import Callable

from cachetools import LRUCache

LARGE_BYTES = 100_000
"""The size from which responses are compressed. For smaller ones, it would take more time than their query."""

COMPRESS_LEVEL = 1
"""The fastest: the numbers of metrics hardly get smaller with more work."""

_MAX_BYTES = 16 * 2**20


class CompressedBodies:
    """The bodies that this process compressed last, by their digest: many clients ask for the same."""

    def __init__(self) -> None:
        self._bodies: LRUCache[str, bytes] = LRUCache(_MAX_BYTES, getsizeof=len)
        self._running: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, digest: str, text: Callable[[], bytes]) -> bytes:
        """Return the compressed text with this digest. Requests that ask for the same share the work."""
        if found := self._bodies.get(digest):
            return found
        task = self._running.get(digest)
        if task is None:
            task = self._running[digest] = asyncio.create_task(self._compress(digest, text))
        return await asyncio.shield(task)  # other requests may wait for it

    async def _compress(self, digest: str, text: Callable[[], bytes]) -> bytes:
        try:
            # In a thread, because other requests would wait for it.
            body = await asyncio.to_thread(lambda: gzip.compress(text(), COMPRESS_LEVEL, mtime=0))
            if len(body) <= _MAX_BYTES:
                self._bodies[digest] = body
            return body
        finally:
            del self._running[digest]
