"""Slots are shared fairly between tenants, however many requests each sends."""

import asyncio
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.fair_semaphore import FairSemaphore

ONE, OTHER, THIRD = uuid4(), uuid4(), uuid4()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class _Queue:
    """Requests that wait for a slot, and the order in which they got one."""

    def __init__(self, semaphore: FairSemaphore) -> None:
        self.semaphore = semaphore
        self.served: list[UUID] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def request(self, tenant: UUID, times: int = 1) -> None:
        async def wait() -> None:
            await self.semaphore.acquire(tenant)
            self.served.append(tenant)

        self.tasks += [asyncio.create_task(wait()) for _ in range(times)]
        await _settle()


def test_tenants_that_wait_are_served_in_rotation() -> None:
    async def scenario() -> list[UUID]:
        semaphore = FairSemaphore(1, max_per_tenant=1)
        queue = _Queue(semaphore)
        await queue.request(ONE, 4)
        await queue.request(OTHER, 2)
        await queue.request(THIRD)
        for held in range(6):
            semaphore.release(queue.served[held])
            await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, OTHER, THIRD, ONE, OTHER, ONE, ONE]


def test_no_tenant_holds_more_than_its_share_and_the_rest_is_for_others() -> None:
    async def scenario() -> list[UUID]:
        queue = _Queue(FairSemaphore(4, max_per_tenant=2))
        await queue.request(ONE, 5)
        assert queue.served == [ONE, ONE]
        await queue.request(OTHER)
        return queue.served

    assert asyncio.run(scenario()) == [ONE, ONE, OTHER]


def test_a_tenant_gets_one_slot_while_others_are_active(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[UUID]:
        now = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        semaphore = FairSemaphore(4, max_per_tenant=2)
        queue = _Queue(semaphore)
        await queue.request(OTHER)
        now += 5  # a tenant that holds a slot is active, however long
        await queue.request(ONE, 5)
        assert queue.served == [OTHER, ONE]
        semaphore.release(OTHER)
        await _settle()
        assert queue.served == [OTHER, ONE, ONE]

        await queue.request(OTHER)
        semaphore.release(OTHER)
        now += 0.9
        semaphore.release(ONE)
        await _settle()
        assert queue.served == [OTHER, ONE, ONE, OTHER]  # ONE still holds a slot
        now += 0.2
        semaphore.release(ONE)
        await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [OTHER, ONE, ONE, OTHER, ONE, ONE]


def test_a_cancelled_wait_holds_no_slot() -> None:
    async def scenario() -> list[UUID]:
        semaphore = FairSemaphore(1, max_per_tenant=1)
        queue = _Queue(semaphore)
        await queue.request(ONE, 2)
        await queue.request(OTHER)
        queue.tasks[1].cancel()
        await _settle()
        semaphore.release(ONE)
        await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, OTHER]


def test_a_slot_granted_to_a_request_as_it_is_cancelled_goes_to_the_next() -> None:
    async def scenario() -> list[UUID]:
        semaphore = FairSemaphore(1, max_per_tenant=1)
        queue = _Queue(semaphore)
        await queue.request(ONE)
        await queue.request(OTHER)
        await queue.request(THIRD)
        semaphore.release(ONE)  # OTHER has the slot, but its task has not resumed
        queue.tasks[1].cancel()
        await _settle()
        return queue.served

    assert asyncio.run(scenario()) == [ONE, THIRD]


def test_a_tenant_whose_requests_pile_up_is_refused_and_others_are_not() -> None:
    async def scenario() -> None:
        semaphore = FairSemaphore(1, max_per_tenant=1)
        queue = _Queue(semaphore)
        await queue.request(ONE, 101)
        with pytest.raises(Problem) as refused:
            await semaphore.acquire(ONE)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
        await queue.request(OTHER)
        semaphore.release(ONE)
        await _settle()
        semaphore.release(ONE)
        await _settle()
        assert OTHER in queue.served
        for task in queue.tasks:
            task.cancel()

    asyncio.run(scenario())
