"""The queue of sync submissions: one at a time, so that two requests cannot both find that no sync is running."""

import asyncio
import logging
from functools import partial
from uuid import UUID

from engarde_pipeline.api.dagster_client import DagsterClient
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.fair_semaphore import FairSemaphore
from engarde_pipeline.api.submit import Submission, Submitter
from engarde_pipeline.runs.job_log import SyncJob

logger = logging.getLogger(__name__)

_WAIT_TIMEOUT = 8
_SUBMIT_TIMEOUT = 5


class SubmissionQueue:
    """Serializes submissions: within this process fairly between tenants, across processes by a lock in Postgres.

    A submission that takes too long gets a 503 response, but keeps its slot until it has ended: it may still start
    a run, which the next submission must find.
    """

    def __init__(self, postgres: Database, dagster: DagsterClient, submitter: Submitter) -> None:
        self._postgres = postgres
        self._dagster = dagster
        self._submitter = submitter
        self._semaphore = FairSemaphore(1, max_per_tenant=1)
        self._tasks: set[asyncio.Task[SyncJob]] = set()

    async def submit(self, submission: Submission) -> SyncJob:
        """Submit a sync, see `Submitter.submit`.

        Raises:
            Problem: as in `Submitter.submit`; also 503, too many syncs are being started, or Dagster is slow.
        """
        try:
            async with asyncio.timeout(_WAIT_TIMEOUT):
                await self._semaphore.acquire(submission.caller_tenant_id)
        except TimeoutError:
            raise Problem(
                503, "Too many syncs are being started; try again in a few seconds.", {"Retry-After": "5"}
            ) from None
        task = asyncio.create_task(self._submit(submission))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, submission.caller_tenant_id))
        try:
            async with asyncio.timeout(_SUBMIT_TIMEOUT):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Problem(
                503,
                "Starting the sync is taking longer than usual; send the request again in a few seconds. It will"
                " not start the sync twice.",
                {"Retry-After": "5"},
            ) from None

    async def _submit(self, submission: Submission) -> SyncJob:
        async with self._postgres.lock("engarde sync launch"):
            return await self._dagster.call_without_timeout(
                lambda instance: self._submitter.submit(instance, submission)
            )

    def _done(self, tenant_id: UUID, task: asyncio.Task[SyncJob]) -> None:
        self._tasks.discard(task)
        self._semaphore.release(tenant_id)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Problem):
            logger.error("Starting a sync failed", exc_info=error)
