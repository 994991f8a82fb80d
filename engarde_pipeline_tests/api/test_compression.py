"""Compression of large responses: requests that ask for the same share the work."""

import asyncio
import gzip

import pytest

from engarde_pipeline.api import compression
from engarde_pipeline.api.compression import CompressedBodies


def test_requests_for_the_same_text_share_its_compression() -> None:
    built = []

    def text() -> bytes:
        built.append(1)
        return b"x" * compression.LARGE_BYTES

    async def ask() -> list[bytes]:
        bodies = CompressedBodies()
        together = await asyncio.gather(*(bodies.get("digest", text) for _ in range(20)))
        return [*together, await bodies.get("digest", text)]

    bodies = asyncio.run(ask())

    assert len(built) == 1
    assert {gzip.decompress(body) for body in bodies} == {b"x" * compression.LARGE_BYTES}


def test_a_request_that_is_cancelled_leaves_the_others_their_body() -> None:
    async def ask() -> bytes:
        bodies = CompressedBodies()
        first, second = (asyncio.create_task(bodies.get("digest", lambda: b"text")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert gzip.decompress(asyncio.run(ask())) == b"text"


def test_a_failure_is_told_and_not_kept() -> None:
    def fail() -> bytes:
        raise MemoryError

    async def ask() -> bytes:
        bodies = CompressedBodies()
        with pytest.raises(MemoryError):
            await bodies.get("digest", fail)
        return await bodies.get("digest", lambda: b"text")

    assert gzip.decompress(asyncio.run(ask())) == b"text"
