"""Live updates: tells subscribers which dates of their tenant were changed, soon after the commit.

One listener per process gets the changed dates of all tenants. For each tenant that has subscribers, its rows of
these dates are compared with what they were, under row-level security, so that nobody hears of changes that only
concern others. A subscriber that reads slowly has a set of dates waiting, which cannot grow beyond its range.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from engarde_pipeline.api.change_listener import Gap, listen
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.errors import Problem, unavailable
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.postgres.change_notifications import ChangedDate
from engarde_pipeline.postgres.reads.metrics_queries import Statement
from engarde_pipeline.postgres.reads.row_versions import DateRange, versions_in_range, versions_of_dates

logger = logging.getLogger(__name__)

MAX_PER_TENANT = 200
"""Subscribers of one tenant in this process."""

_WINDOW_SECONDS = 0.25
"""Changes within this time are told together."""

_RETRY_SECONDS = 1
_START_TIMEOUT = 10
_CHECKS_AT_ONCE = 2
"""Leaves connections of the pool for requests."""

RESYNC = {"event": "resync"}
"""Changes may have been missed; the subscriber must read its numbers again."""


class Subscription:
    """What one subscriber has not been told yet."""

    def __init__(self, dates: DateRange) -> None:
        self.dates = dates
        self._changed: dict[MetricTable, set[date]] = defaultdict(set)
        self._must_resync = False
        self._wake = asyncio.Event()

    def add(self, changes: Iterable[ChangedDate]) -> None:
        """Add changes, of which those outside the range of the subscriber are left out."""
        for table, day in changes:
            if day in self.dates:
                self._changed[table].add(day)
                self._wake.set()

    def resync(self) -> None:
        """Let the subscriber read everything again."""
        self._must_resync = True
        self._wake.set()

    async def next(self) -> list[dict[str, Any]]:
        """Wait for news, and return them as events."""
        await self._wake.wait()
        self._wake.clear()
        changed, self._changed = self._changed, defaultdict(set)
        if self._must_resync:
            self._must_resync = False
            return [RESYNC]
        return [
            {"event": "changed", "table": table.target, "dates": [str(day) for day in sorted(days)]}
            for table, days in changed.items()
        ]


_Versions = dict[ChangedDate, tuple[int, Any]]


@dataclass
class _Tenant:
    """The subscribers of a tenant, and the versions of its rows in all dates that they want."""

    id: UUID
    subscriptions: set[Subscription] = field(default_factory=set)
    dates: DateRange | None = None
    versions: _Versions = field(default_factory=dict)
    unchecked: set[ChangedDate] = field(default_factory=set)
    has_gap: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class LiveUpdates:
    """The subscribers of this process."""

    def __init__(self, database: Database, listen_url: str) -> None:
        self._database = database
        self._listen_url = listen_url
        self._tenants: dict[UUID, _Tenant] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_listening = asyncio.Event()
        self._has_news = asyncio.Event()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        return sum(len(tenant.subscriptions) for tenant in self._tenants.values())

    @asynccontextmanager
    async def subscribe(self, tenant_id: UUID, dates: DateRange) -> AsyncIterator[Subscription]:
        """Yield a subscription to which every change is added that is committed from now on.

        Raises:
            Problem: 429, the tenant has too many subscribers; 503, Postgres does not respond in time.
        """
        await self._start()
        tenant = self._tenants.setdefault(tenant_id, _Tenant(tenant_id))
        if len(tenant.subscriptions) >= MAX_PER_TENANT:
            raise Problem(
                429,
                f"{MAX_PER_TENANT} clients of this tenant are subscribed already; close one of them.",
                {"Retry-After": "60"},
            )
        subscription = Subscription(dates)
        tenant.subscriptions.add(subscription)
        try:
            async with tenant.lock:
                await self._cover(tenant, dates)
            yield subscription
        finally:
            tenant.subscriptions.discard(subscription)
            if not tenant.subscriptions:
                self._tenants.pop(tenant_id, None)

    async def _start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._check_forever())]
        try:
            await asyncio.wait_for(self._is_listening.wait(), _START_TIMEOUT)
        except TimeoutError:
            raise unavailable("The database's notification of changes") from None

    async def _listen(self) -> None:
        async with aclosing(listen(self._listen_url)) as notifications:
            async for each in notifications:
                for tenant in self._tenants.values():
                    if isinstance(each, Gap):
                        tenant.has_gap = True
                    else:
                        tenant.unchecked.add(each)
                self._is_listening.set()
                self._has_news.set()

    async def _check_forever(self) -> None:
        while True:
            await self._has_news.wait()
            await asyncio.sleep(_WINDOW_SECONDS)
            self._has_news.clear()
            with_news = [each for each in self._tenants.values() if each.unchecked or each.has_gap]
            done = await asyncio.gather(*map(self._check, with_news))
            if not all(done):
                await asyncio.sleep(_RETRY_SECONDS)
                self._has_news.set()

    async def _check(self, tenant: _Tenant) -> bool:
        """Tell the subscribers of a tenant what has changed for it. Return False to be called again."""
        async with self._checks, tenant.lock:
            try:
                if tenant.has_gap:
                    await self._reset(tenant)
                else:
                    await self._compare(tenant)
            except Problem as problem:
                logger.warning("Live updates of a tenant are late: %s", problem.detail)
                return False
            return True

    async def _compare(self, tenant: _Tenant) -> None:
        unchecked, tenant.unchecked = tenant.unchecked, set()
        wanted = {each for each in unchecked if tenant.dates and each.day in tenant.dates}
        if not wanted:
            return
        days = {each.day for each in wanted}
        try:
            current = await self._read(
                [versions_of_dates(table, tenant.id, days) for table in METRIC_TABLES], tenant
            )
        except Problem:
            tenant.unchecked |= unchecked
            raise
        changed = {each for each in wanted if current.get(each) != tenant.versions.get(each)}
        for each in changed:
            tenant.versions.pop(each, None)
            if each in current:
                tenant.versions[each] = current[each]
        for subscription in tenant.subscriptions:
            subscription.add(changed)

    async def _reset(self, tenant: _Tenant) -> None:
        if tenant.dates:
            tenant.versions = await self._read_range(tenant, tenant.dates)
        tenant.has_gap = False
        # Not before the versions are read: a change in between is either read by the subscriber, or notified.
        for subscription in tenant.subscriptions:
            subscription.resync()

    async def _cover(self, tenant: _Tenant, dates: DateRange) -> None:
        """Read the versions of those of `dates` that no other subscriber wants."""
        known = tenant.dates
        wanted = known.union(dates) if known else dates
        if wanted == known:
            return
        versions = await self._read_range(tenant, wanted)
        # The versions that are known are kept: a change since then has not been told to the others yet.
        tenant.versions |= {each: v for each, v in versions.items() if known is None or each.day not in known}
        tenant.dates = wanted

    async def _read_range(self, tenant: _Tenant, dates: DateRange) -> _Versions:
        return await self._read([versions_in_range(table, tenant.id, dates) for table in METRIC_TABLES], tenant)

    async def _read(self, statements: Sequence[Statement], tenant: _Tenant) -> _Versions:
        results = await self._database.execute(tenant.id, *statements)
        return {
            ChangedDate(table, row["date"]): (row["rows"], row["written_at"])
            for table, rows in zip(METRIC_TABLES, results, strict=True)
            for row in rows
        }
