"""Compression of large responses."""

import gzip
from asyncio import to_thread

from cachetools import LRUCache

LARGE_BYTES = 10_000
"""The size from which responses are compressed."""

COMPRESS_LEVEL = 1
"""The fastest: the numbers of metrics hardly get smaller with more work."""

_THREAD_BYTES = 2**17
"""The size from which compressing would block other requests for too long."""

_MAX_BYTES = 16 * 2**20


class CompressedBodies:
    """The compressed bodies of this process that were sent last, by their hash: many clients ask for the same."""

    def __init__(self) -> None:
        self._bodies: LRUCache[str, bytes] = LRUCache(_MAX_BYTES, getsizeof=len)

    async def get(self, digest: str, body: bytes) -> bytes:
        """Return `body`, which has this hash, compressed."""
        found = self._bodies.get(digest)
        if found is None:
            in_thread = len(body) >= _THREAD_BYTES
            found = await to_thread(_compress, body) if in_thread else _compress(body)
            if len(found) <= _MAX_BYTES:
                self._bodies[digest] = found
        return found


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, COMPRESS_LEVEL, mtime=0)
