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
_WAIT_SECONDS = 3
"""How long a page waits for the history. It then shows what was read before."""


class FailedDates:
    """Reads the failed dates of all tenants, which are the same for each of them, at most every few seconds."""

    def __init__(self, dagster: DagsterClient) -> None:
        self._dagster = dagster
        self._failed: frozenset[FailedDay] | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> frozenset[FailedDay] | None:
        """Return the failed dates, or None if the history could not be read, or not in time."""
        if self._reading is None and time.monotonic() - self._read_at > _FRESH_SECONDS:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_WAIT_SECONDS)
        return self._failed

    async def _read(self) -> None:
        try:
            self._failed = await self._dagster.call_without_timeout(read_failed_days)
        except Problem:  # Dagster's storage does not respond
            self._failed = None
        finally:
            self._read_at = time.monotonic()
            self._reading = None


async def _failed_days(request: Request) -> frozenset[FailedDay] | None:
    return await cast("FailedDates", request.app.state.failed_dates).get()


FailedDaysDep = Annotated[frozenset[FailedDay] | None, Depends(_failed_days)]
