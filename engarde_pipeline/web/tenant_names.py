"""The names of tenants, as the switcher shows them."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from cachetools import TTLCache

from engarde_pipeline.api.database import Database
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.postgres.reads.reference_queries import the_tenant

_SECONDS = 300
_TENANTS = 10_000

_QUERIES_AT_ONCE = 2
"""Leaves connections of the pool for other requests."""

_SHOWN_WITHIN = 1
"""Seconds that a page waits for names; the id of a tenant will do."""


class TenantNames:
    """Reads names from Postgres, each in a transaction that sees one tenant, and keeps them for some minutes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: TTLCache[UUID, str] = TTLCache(_TENANTS, _SECONDS)
        self._queries = asyncio.Semaphore(_QUERIES_AT_ONCE)

    async def read(self, tenant_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
        """Return the ids and names of those tenants that exist, in the order of their names.

        Raises:
            Problem: 503, Postgres does not respond in time.
        """
        try:
            async with asyncio.TaskGroup() as group:  # if one fails, the others end
                tasks = [group.create_task(self._name(each)) for each in tenant_ids]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        names = [task.result() for task in tasks]
        found = [(id_, name) for id_, name in zip(tenant_ids, names, strict=True) if name is not None]
        return sorted(found, key=lambda each: (each[1].casefold(), each[0]))

    async def shown(self, tenant_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
        """Return the ids and names for the switcher, with the id in place of a name that cannot be read now."""
        try:
            async with asyncio.timeout(_SHOWN_WITHIN):
                return await self.read(tenant_ids)
        except (TimeoutError, Problem):
            return [(each, self._names.get(each, str(each))) for each in tenant_ids]

    async def _name(self, tenant_id: UUID) -> str | None:
        if (known := self._names.get(tenant_id)) is not None:
            return known
        async with self._queries:
            (rows,) = await self._database.execute(tenant_id, the_tenant())
        if not rows:
            return None
        name: str = rows[0]["name"] or str(tenant_id)
        self._names[tenant_id] = name
        return name
