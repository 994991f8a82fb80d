"""The dates whose last sync failed, which only Dagster's history knows; one read serves many pages."""

import asyncio
import time
from typing import Annotated, cast

from fastapi import Depends, Request

from engarde_pipeline.api.dagster_client import DagsterClient
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.core.date_states import FailedDay
from engarde_pipeline.runs.date_states import read_failed_days

_FRESH_SECONDS = 10
_MOST_OF_THE_TIME = 20
"""The history is not read for so many times as long as the last read took: 4 seconds after 100,000 runs."""

_WAIT_SECONDS = 3
"""How long the first page waits for the history."""

_SHORT_WAIT_SECONDS = 0.5
"""How long a page waits that can show what was read before."""


class FailedDates:
    """Reads the failed dates of all tenants, which are the same for each of them, only now and then."""

    def __init__(self, dagster: DagsterClient) -> None:
        self._dagster = dagster
        self._failed: frozenset[FailedDay] | None = None
        self._read_again_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> frozenset[FailedDay] | None:
        """Return the failed dates, or None if the history could not be read, or not in time."""
        if self._reading is None and time.monotonic() > self._read_again_at:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            wait = _WAIT_SECONDS if self._failed is None else _SHORT_WAIT_SECONDS
            await asyncio.wait([self._reading], timeout=wait)
        return self._failed

    async def _read(self) -> None:
        started = time.monotonic()
        try:
            self._failed = await self._dagster.call_without_timeout(read_failed_days)
        except Problem:  # Dagster's storage does not respond
            self._failed = None
        finally:
            ended = time.monotonic()
            self._read_again_at = ended + max(_FRESH_SECONDS, _MOST_OF_THE_TIME * (ended - started))
            self._reading = None


async def _failed_days(request: Request) -> frozenset[FailedDay] | None:
    return await cast("FailedDates", request.app.state.failed_dates).get()


FailedDaysDep = Annotated[frozenset[FailedDay] | None, Depends(_failed_days)]
