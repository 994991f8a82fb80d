"""Turns are shared between tenants, whoever asks most."""

import asyncio
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.fair_semaphore import Turns

ONE, OTHER, THIRD = uuid4(), uuid4(), uuid4()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class _Queue:
    """Requests that wait for a turn, and in which order they got one."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[UUID] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, tenant: UUID, times: int = 1) -> None:
        async def wait() -> None:
            await self.turns.take(tenant)
            self.served.append(tenant)

        self.tasks += [asyncio.create_task(wait()) for _ in range(times)]
        await _settle()


def test_tenants_that_wait_are_served_in_rotation() -> None:
    async def scenario() -> list[UUID]:
        turns = Turns(1, most_of_one=1)
        queue = _Queue(turns)
        await queue.ask(ONE, 4)
        await queue.ask(OTHER, 2)
        await queue.ask(THIRD)
        for held in range(6):
            turns.give_back(queue.served[held])
            await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, OTHER, THIRD, ONE, OTHER, ONE, ONE]


def test_no_tenant_holds_more_than_its_share_and_the_rest_is_for_others() -> None:
    async def scenario() -> list[UUID]:
        queue = _Queue(Turns(4, most_of_one=2))
        await queue.ask(ONE, 5)
        assert queue.served == [ONE, ONE]
        await queue.ask(OTHER)
        return queue.served

    assert asyncio.run(scenario()) == [ONE, ONE, OTHER]


def test_who_breaks_off_waiting_takes_no_turn_with_him() -> None:
    async def scenario() -> list[UUID]:
        turns = Turns(1, most_of_one=1)
        queue = _Queue(turns)
        await queue.ask(ONE, 2)
        await queue.ask(OTHER)
        queue.tasks[1].cancel()
        await _settle()
        turns.give_back(ONE)
        await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, OTHER]


def test_a_turn_that_comes_as_its_request_is_broken_off_goes_to_the_next() -> None:
    async def scenario() -> list[UUID]:
        turns = Turns(1, most_of_one=1)
        queue = _Queue(turns)
        await queue.ask(ONE)
        await queue.ask(OTHER)
        await queue.ask(THIRD)
        turns.give_back(ONE)  # OTHER has its turn, and does not know yet
        queue.tasks[1].cancel()
        await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, THIRD]


def test_a_tenant_whose_requests_pile_up_is_refused_and_others_are_not() -> None:
    async def scenario() -> None:
        turns = Turns(1, most_of_one=1)
        queue = _Queue(turns)
        await queue.ask(ONE, 101)
        with pytest.raises(Problem) as refused:
            await turns.take(ONE)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
        await queue.ask(OTHER)
        turns.give_back(ONE)
        await _settle()
        turns.give_back(ONE)
        await _settle()
        assert OTHER in queue.served
        for task in queue.tasks:
            task.cancel()

    asyncio.run(scenario())
