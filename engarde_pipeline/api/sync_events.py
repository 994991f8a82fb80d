"""The progress events of sync jobs. One task per job polls Dagster, however many clients subscribe."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dagster import DagsterInstance, EventLogRecord

from engarde_pipeline.api.dagster_client import DagsterClient
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.runs.attempts import LANDED
from engarde_pipeline.runs.history import counts_of_event, event_of_date, held_code, spend_of_event, would_not_land
from engarde_pipeline.runs.job_log import SyncJob, get_job
from engarde_pipeline.runs.run_config import DRY_RUN

logger = logging.getLogger(__name__)

Cursors = Mapping[str, str]
"""The position up to which each run's event log has been read."""

_POLL_SECONDS = 0.5
_RETRY_SECONDS = 5.0
"""The interval after a failed poll."""

_COUNTED = ("records_", "would_not_land")
"""The beginnings of the fields of an event that include other tenants in a sync of all tenants."""

_ID = re.compile(r"(\d{1,9})-(\d{1,18})", re.ASCII)
_END = (10**9, 0)


@dataclass(frozen=True)
class LandedDate:
    """The event of a date that landed.

    `position` is the number of the attempt and the event's id in that run's log. The id alone is not unique in a
    job, because Dagster's default storage numbers the events of each run separately.
    """

    position: tuple[int, int]
    data: dict[str, Any]
    held: str | None = None
    """The code of the reason why a dry run found that the date would be held."""
    spend: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The spend before and after, by currency."""

    @property
    def id(self) -> str:
        """The event's id, which clients send back as `Last-Event-ID`."""
        return "-".join(map(str, self.position))

    def shown(self, may_see_counts: bool) -> dict[str, Any]:
        """Return the data without what a caller may not see who may not see counts over all tenants."""
        return {name: v for name, v in self.data.items() if may_see_counts or not name.startswith(_COUNTED)}


class EventStream:
    """The events of a job so far, which subscribers read and wait on."""

    def __init__(self) -> None:
        self.landed: list[LandedDate] = []
        self.ended_job: SyncJob | None = None
        self.is_closed = False
        self.subscribers = 0
        self._changed = asyncio.Condition()

    async def add(self, landed: list[LandedDate], ended_job: SyncJob | None) -> None:
        """Add new events; with `ended_job`, the stream is closed."""
        if not landed and ended_job is None:
            return
        async with self._changed:
            self.landed += landed
            self.ended_job = ended_job
            self.is_closed = ended_job is not None
            self._changed.notify_all()

    async def close(self) -> None:
        """End the stream without an ended job, because the job was deleted."""
        async with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    async def after(self, last_id: str | None) -> AsyncIterator[LandedDate | SyncJob]:
        """Yield each date as it lands, starting after the event `last_id`, and finally the ended job."""
        position = _position(last_id)
        seen = 0
        while True:
            while seen < len(self.landed):
                event = self.landed[seen]
                seen += 1
                if event.position > position:
                    yield event
            if self.ended_job:
                yield self.ended_job
            if self.is_closed:
                return
            async with self._changed:
                await self._changed.wait_for(lambda: seen < len(self.landed) or self.is_closed)  # noqa: B023


class EventBroker:
    """The event streams of the jobs that have subscribers."""

    def __init__(self, dagster: DagsterClient) -> None:
        self._dagster = dagster
        self._streams: dict[str, tuple[EventStream, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def subscribe(self, job_id: str) -> AsyncIterator[EventStream]:
        """Yield the event stream of a job. Dagster is polled as long as the job has subscribers."""
        if job_id not in self._streams:
            new = EventStream()
            self._streams[job_id] = new, asyncio.create_task(self._poll_until_closed(job_id, new))
        stream, task = self._streams[job_id]
        stream.subscribers += 1
        try:
            yield stream
        finally:
            stream.subscribers -= 1
            if not stream.subscribers:
                del self._streams[job_id]
                task.cancel()

    def __len__(self) -> int:
        return len(self._streams)

    async def _poll_until_closed(self, job_id: str, stream: EventStream) -> None:
        cursors: Cursors = {}
        while not stream.is_closed:
            try:
                poll = partial(_poll, job_id=job_id, cursors=cursors)
                job, landed, cursors = await self._dagster.call(poll)
            except Exception as error:  # subscribers stay connected while Dagster does not respond
                if isinstance(error, Problem) and error.status == 404:
                    await stream.close()
                    return
                if not isinstance(error, Problem):
                    logger.exception(
                        "Reading the progress of job %s failed; retrying in %s seconds", job_id, _RETRY_SECONDS
                    )
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await stream.add(landed, job if job.has_ended else None)
            await asyncio.sleep(_POLL_SECONDS)


def _poll(instance: DagsterInstance, job_id: str, cursors: Cursors) -> tuple[SyncJob, list[LandedDate], Cursors]:
    """Return the job, the dates that landed after `cursors`, and the new cursors.

    `cursors` is not changed, because a poll that times out or fails halfway must not advance it.
    """
    # The job is read first, so that if it has ended, all of its events are read after that.
    job = get_job(instance, job_id)
    if job is None:
        raise Problem(404, f"The job {job_id} was deleted.")
    return job, *_landed_after(instance, job, cursors)


def landed_dates(instance: DagsterInstance, job: SyncJob) -> list[LandedDate]:
    """Return the dates of a job that have landed so far, in this order."""
    return _landed_after(instance, job, {})[0]


def _landed_after(instance: DagsterInstance, job: SyncJob, cursors: Cursors) -> tuple[list[LandedDate], Cursors]:
    landed: list[LandedDate] = []
    new_cursors = dict(cursors)
    for attempt, run_id in enumerate(job.run_ids):
        has_more = True
        while has_more:
            page = instance.get_records_for_run(run_id, cursor=new_cursors.get(run_id), of_type=LANDED, limit=500)
            new_cursors[run_id], has_more = page.cursor, page.has_more
            landed += _landed_dates(job, attempt, page.records)
    return landed, new_cursors


def _landed_dates(job: SyncJob, attempt: int, records: Iterable[EventLogRecord]) -> Iterator[LandedDate]:
    for record in records:
        event = event_of_date(record.event_log_entry)
        if event is None or event.partition is None:
            continue
        counts = counts_of_event(event).published
        del counts["source_rows"]
        counts["records_failed"] = counts.pop("records_rejected")  # the name that a sync job uses
        data = {
            "job_id": job.id,
            "attempt": attempt,
            "table": event.asset_key.to_user_string(),
            "date": event.partition,
            "dates": (job.end_date - job.start_date).days + 1 if job.start_date and job.end_date else None,
            **counts,
            **({DRY_RUN: True} if job.is_dry_run else {}),
            **({"would_not_land": reason} if (reason := would_not_land(event)) else {}),
        }
        yield LandedDate((attempt, record.storage_id), data, held_code(event), spend_of_event(event))


def _position(last_id: str | None) -> tuple[int, int]:
    if last_id == "end":
        return _END
    match = _ID.fullmatch(last_id or "")
    return (int(match[1]), int(match[2])) if match else (-1, 0)
