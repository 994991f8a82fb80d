"""One sync is started at a time: two requests at the same moment must not both find that nothing runs."""

import asyncio
import logging
from functools import partial
from uuid import UUID

from engarde_pipeline.api.dagster_calls import Dagster
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.fair_semaphore import Turns
from engarde_pipeline.api.submit import Asked, Submitter
from engarde_pipeline.runs.job_log import SyncJob

logger = logging.getLogger(__name__)

_TURN_SECONDS = 8
_START_SECONDS = 5


class Submissions:
    """The turns to start a sync: in this process tenant by tenant, beside other processes a lock in Postgres.

    A start that takes too long is answered with 503, and goes on holding its turn until it has ended: it may yet
    have started a run, which the next request must find.
    """

    def __init__(self, postgres: Database, dagster: Dagster) -> None:
        self._postgres = postgres
        self._dagster = dagster
        self._submitter = Submitter()
        self._turns = Turns(1, most_of_one=1)
        self._under_way: set[asyncio.Task[SyncJob]] = set()

    async def submit(self, asked: Asked) -> SyncJob:
        """Submit what was asked for, see `Submitter.submit`.

        Raises:
            Problem: as there; and 503, too many others are being started, or Dagster is slow.
        """
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turns.take(asked.caller_tenant_id)
        except TimeoutError:
            raise Problem(
                503, "Many syncs are being started at this moment; try again in a moment.", {"Retry-After": "5"}
            ) from None
        starting = asyncio.create_task(self._start(asked))
        self._under_way.add(starting)
        starting.add_done_callback(partial(self._done, asked.caller_tenant_id))
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await asyncio.shield(starting)
        except TimeoutError:
            raise Problem(
                503,
                "The sync takes long to start; ask again in a moment, which starts nothing twice.",
                {"Retry-After": "5"},
            ) from None

    async def _start(self, asked: Asked) -> SyncJob:
        async with self._postgres.lock("engarde sync launch"):
            return await self._dagster.finish(lambda instance: self._submitter.submit(instance, asked))

    def _done(self, tenant_id: UUID, starting: asyncio.Task[SyncJob]) -> None:
        self._under_way.discard(starting)
        self._turns.give_back(tenant_id)
        if not starting.cancelled() and (error := starting.exception()) and not isinstance(error, Problem):
            logger.error("A sync could not be started", exc_info=error)
