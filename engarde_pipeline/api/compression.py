"""Compression of large responses."""

import gzip
from asyncio import to_thread

from cachetools import LRUCache

LARGE_BYTES = 100_000
"""The size from which responses are compressed. For smaller ones, it would take more time than their query."""

COMPRESS_LEVEL = 1
"""The fastest: the numbers of metrics hardly get smaller with more work."""

_MAX_BYTES = 16 * 2**20


class CompressedBodies:
    """The compressed bodies of this process that were sent last, by their hash: many clients ask for the same."""

    def __init__(self) -> None:
        self._bodies: LRUCache[str, bytes] = LRUCache(_MAX_BYTES, getsizeof=len)

    async def get(self, digest: str, body: bytes) -> bytes:
        """Return `body`, which has this hash, compressed."""
        found = self._bodies.get(digest)
        if found is None:
            found = await to_thread(gzip.compress, body, COMPRESS_LEVEL, mtime=0)  # not while others wait
            if len(found) <= _MAX_BYTES:
                self._bodies[digest] = found
        return found
