"""A job's progress, told to everyone who listens: one task per job asks Dagster, however many listen."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from dagster import DagsterInstance, EventLogRecord

from engarde_pipeline.api.dagster_calls import Dagster
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.runs.attempts import LANDED
from engarde_pipeline.runs.history import counts_of_event
from engarde_pipeline.runs.job_log import SyncJob, get_job

logger = logging.getLogger(__name__)

Cursors = Mapping[str, str]
"""How far each run's log has been read."""

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
"""Between two looks where Dagster does not answer."""

_ID = re.compile(r"(\d{1,9})-(\d{1,18})", re.ASCII)
_END = (10**9, 0)


@dataclass(frozen=True)
class Landed:
    """A date that landed. `position` is the attempt's number and the event's id in that run's log: Dagster's
    default storage counts ids anew for each run, so the id alone is not one of a job's.
    """

    position: tuple[int, int]
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The event's id as clients hand it back."""
        return "-".join(map(str, self.position))


class Feed:
    """What happened to a job so far, and a way to wait for more."""

    def __init__(self) -> None:
        self.landed: list[Landed] = []
        self.end: SyncJob | None = None
        self.is_over = False
        self.listeners = 0
        self._more = asyncio.Condition()

    async def add(self, landed: list[Landed], end: SyncJob | None) -> None:
        """Add what is new."""
        if not landed and end is None:
            return
        async with self._more:
            self.landed += landed
            self.end = end
            self.is_over = end is not None
            self._more.notify_all()

    async def close(self) -> None:
        """Send everyone who listens away: there is no such job any more."""
        async with self._more:
            self.is_over = True
            self._more.notify_all()

    async def after(self, last_id: str | None) -> AsyncIterator[Landed | SyncJob]:
        """Yield each date as it lands, behind the event `last_id`, and at last the job as it ended."""
        position = _position(last_id)
        seen = 0
        while True:
            while seen < len(self.landed):
                event = self.landed[seen]
                seen += 1
                if event.position > position:
                    yield event
            if self.end:
                yield self.end
            if self.is_over:
                return
            async with self._more:
                await self._more.wait_for(lambda: seen < len(self.landed) or self.is_over)  # noqa: B023


class Feeds:
    """The feeds of the jobs that someone listens to."""

    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._feeds: dict[str, tuple[Feed, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def of(self, job_id: str) -> AsyncIterator[Feed]:
        """Yield the feed of a job; it is kept up while anyone listens."""
        if job_id not in self._feeds:
            new = Feed()
            self._feeds[job_id] = new, asyncio.create_task(self._keep_up(job_id, new))
        feed, task = self._feeds[job_id]
        feed.listeners += 1
        try:
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                del self._feeds[job_id]
                task.cancel()

    def __len__(self) -> int:
        return len(self._feeds)

    async def _keep_up(self, job_id: str, feed: Feed) -> None:
        cursors: Cursors = {}
        while not feed.is_over:
            try:
                look = partial(_look, job_id=job_id, cursors=cursors)
                job, landed, cursors = await self._dagster.call(look)
            except Exception as error:  # nobody who listens is sent away because Dagster does not answer
                if isinstance(error, Problem) and error.status == 404:
                    await feed.close()
                    return
                if not isinstance(error, Problem):
                    logger.exception("The progress of job %s could not be looked up; trying again", job_id)
                await asyncio.sleep(_PATIENCE_SECONDS)
                continue
            await feed.add(landed, job if job.has_ended else None)
            await asyncio.sleep(_POLL_SECONDS)


def _look(instance: DagsterInstance, job_id: str, cursors: Cursors) -> tuple[SyncJob, list[Landed], Cursors]:
    """Return the job, what landed behind `cursors`, and the cursors behind that.

    New ones: a look that is given up, or fails halfway, must not move those of the next.
    """
    # The job first: what landed before it ended is then read after it.
    job = get_job(instance, job_id)
    if job is None:
        raise Problem(404, f"The job {job_id} was deleted.")
    landed: list[Landed] = []
    moved = dict(cursors)
    for attempt, run_id in enumerate(job.run_ids):
        has_more = True
        while has_more:
            page = instance.get_records_for_run(run_id, cursor=moved.get(run_id), of_type=LANDED, limit=500)
            moved[run_id], has_more = page.cursor, page.has_more
            landed += _landed(job, attempt, page.records)
    return job, landed, moved


def _landed(job: SyncJob, attempt: int, records: Iterable[EventLogRecord]) -> Iterator[Landed]:
    for record in records:
        event = record.event_log_entry.asset_materialization or record.event_log_entry.asset_observation
        if event is None or event.partition is None:
            continue
        counts = counts_of_event(event).published
        del counts["source_rows"]
        counts["records_failed"] = counts.pop("records_rejected")  # as in a job
        data = {
            "job_id": job.id,
            "attempt": attempt,
            "table": event.asset_key.to_user_string(),
            "date": event.partition,
            "dates": (job.end_date - job.start_date).days + 1 if job.start_date and job.end_date else None,
            **counts,
        }
        yield Landed((attempt, record.storage_id), data)


def _position(last_id: str | None) -> tuple[int, int]:
    if last_id == "end":
        return _END
    found = _ID.fullmatch(last_id or "")
    return (int(found[1]), int(found[2])) if found else (-1, 0)
