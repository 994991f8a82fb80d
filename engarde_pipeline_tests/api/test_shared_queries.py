"""Requests that ask for the same at the same time share a query that began after each of them."""

import asyncio

import pytest

from engarde_pipeline.api.shared_queries import SharedQueries


class Queries:
    """Queries that end when they are told to, and return how many had begun before."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.end.wait()
        return number


async def asked(shared: SharedQueries[int], key: str, queries: Queries) -> "asyncio.Task[int]":
    """Ask, and let everything run that can."""
    task = asyncio.create_task(shared.get(key, queries))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_requests_that_arrive_while_a_query_runs_share_the_next() -> None:
    async def ask() -> list[int]:
        shared, queries = SharedQueries[int](), Queries()
        tasks = [await asked(shared, "one", queries) for _ in range(3)]
        assert queries.begun == 1
        queries.end.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask()) == [1, 2, 2]


def test_different_keys_do_not_wait_for_each_other() -> None:
    async def ask() -> list[int]:
        shared, queries = SharedQueries[int](), Queries()
        tasks = [await asked(shared, key, queries) for key in ("one", "other")]
        assert queries.begun == 2
        queries.end.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask()) == [1, 2]


def test_a_request_that_is_given_up_does_not_end_the_query_of_another() -> None:
    async def ask() -> int:
        shared, queries = SharedQueries[int](), Queries()
        running = await asked(shared, "one", queries)
        given_up, other = [await asked(shared, "one", queries) for _ in range(2)]
        given_up.cancel()
        queries.end.set()
        await running
        return await other

    assert asyncio.run(ask()) == 2


def test_a_failure_is_raised_to_all_that_shared_it_and_not_kept() -> None:
    async def fail() -> int:
        raise LookupError("gone")

    async def ask() -> int:
        shared, queries = SharedQueries[int](), Queries()
        running = await asked(shared, "one", queries)
        sharing = [asyncio.create_task(shared.get("one", fail)) for _ in range(2)]
        await asyncio.sleep(0)
        queries.end.set()
        await running
        for task in sharing:
            with pytest.raises(LookupError):
                await task
        return await shared.get("one", queries)

    assert asyncio.run(ask()) == 2
