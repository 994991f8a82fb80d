"""The API's access to Postgres: a small connection pool, with a role that sees one tenant per transaction."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from engarde_pipeline.api.errors import Problem, unavailable
from engarde_pipeline.api.fair_semaphore import FairSemaphore
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.connection import DatabaseUnavailable, connect, parameters
from engarde_pipeline.postgres.reads.metrics_queries import Statement
from engarde_pipeline.settings import API_ROLE

MAX_CONNECTIONS = 4
"""Enough to keep a small server's cores busy; more connections would only make the slowest responses slower."""

MAX_CONNECTIONS_PER_TENANT = 2
"""Leaves connections for other tenants, however many requests one tenant sends. While others are active, a tenant
gets one: with two, its queries would take both cores of a small server."""

_POOL_TIMEOUT = 2
_STATEMENT_TIMEOUT = 4
REQUEST_TIMEOUT = 5
"""Seconds that a request waits for Postgres in total."""

# Set in each transaction, not when connecting: poolers refuse startup options, and can run the next transaction in
# another server process. JIT is off because compiling takes longer than executing any of these queries. A query
# uses one core, because other tenants wait for the others. The memory is for the groups of a tenant with ten
# thousand campaigns, which would be sorted on disk.
_TRANSACTION_SETTINGS = f"""
SELECT set_config('statement_timeout', '{1000 * _STATEMENT_TIMEOUT}', true),
       set_config('transaction_read_only', 'on', true),
       set_config('row_security', 'on', true),
       set_config('jit', 'off', true),
       set_config('max_parallel_workers_per_gather', '0', true),
       set_config('work_mem', '16MB', true),
       set_config('datestyle', 'ISO', true),
       set_config('engarde.tenant_id', %s, true)
"""

_SET_ROLE = f"SELECT set_config('role', '{API_ROLE}', true)"
"""The first statement if the login is not the API's own. The following ones have the role's rights, or fail."""

# Row-level security does not apply to superusers, owners of the table and roles with BYPASSRLS. So neither the
# login nor any role that it can switch to may be one of these, or be able to read these tables without the role.
_IS_RESTRICTED = """
WITH tables AS (
    SELECT oid, relowner, relrowsecurity FROM pg_class
    WHERE oid IN ('campaign_metrics'::regclass, 'campaign_asset_metrics'::regclass, 'platform_days'::regclass,
                  'asset_platform_days'::regclass, 'metric_blocks'::regclass, 'metric_block_sums'::regclass,
                  'rejected_metric_rows'::regclass)
), open_tables AS (
    SELECT oid FROM tables
    WHERE NOT relrowsecurity
       OR NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = tables.oid AND polname = 'one_tenant')
), free_roles AS (
    SELECT r.oid FROM pg_roles r
    WHERE pg_has_role(current_user, r.oid, 'MEMBER')
      AND (r.rolsuper OR r.rolbypassrls
           OR EXISTS (SELECT FROM tables WHERE pg_has_role(r.oid, relowner, 'MEMBER'))
           OR NOT pg_has_role(r.oid, 'engarde_api', 'USAGE')
              AND EXISTS (SELECT FROM tables WHERE has_table_privilege(r.oid, tables.oid, 'SELECT')))
)
SELECT pg_has_role(current_user, 'engarde_api', 'USAGE')
   AND NOT EXISTS (SELECT FROM open_tables)
   AND NOT EXISTS (SELECT FROM free_roles)
FROM pg_roles WHERE rolname = 'engarde_api'
"""

_NO_TENANT = UUID(int=0)

Row = dict[str, Any]
_T = TypeVar("_T")


class NotIsolated(EngardeError):
    """The API's login could read the rows of all tenants."""


def check_isolation(api_database_url: str, set_role: bool = False) -> None:
    """Check that Postgres restricts the API's login to one tenant; with `set_role`, after it has set the role.

    Raises:
        NotIsolated: it does not restrict it.
        DatabaseUnavailable: the server cannot be reached, or refuses the login.
    """
    try:
        opened = connect(api_database_url, variable="DATABASE_URL" if set_role else "API_DATABASE_URL")
    except DatabaseUnavailable as error:
        if f'role "{API_ROLE}"' not in str(error):
            raise
        raise NotIsolated(
            f"{error} Run `engarde db upgrade`, which creates the role {API_ROLE}, then"
            f" ALTER ROLE {API_ROLE} LOGIN PASSWORD '...', so that it can log in."
        ) from None
    with opened as connection, connection.transaction():
        if set_role:
            _set_role(connection)
        try:
            row = connection.execute(_IS_RESTRICTED).fetchone()
        except psycopg.errors.UndefinedTable:
            raise NotIsolated("The database schema is not current; run `engarde db upgrade`.") from None
        if not row or not row[0]:
            raise NotIsolated(
                f"The role {connection.info.user} of API_DATABASE_URL is not restricted to one tenant. Run"
                f" `engarde db upgrade`, then ALTER ROLE {API_ROLE} LOGIN PASSWORD '...', and set API_DATABASE_URL"
                f" to log in as {API_ROLE}."
            )


def _set_role(connection: psycopg.Connection) -> None:
    try:
        connection.execute(_SET_ROLE)
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege) as error:
        raise NotIsolated(
            f"The role {connection.info.user} of DATABASE_URL cannot switch to the role {API_ROLE}:"
            f" {error.diag.message_primary}. Run `engarde db upgrade`, which creates {API_ROLE}. Then set"
            f" API_DATABASE_URL to a separate login for the API, or, on PostgreSQL 16 or later, run"
            f" GRANT {API_ROLE} TO {connection.info.user} WITH INHERIT FALSE, which allows switching to the role"
            " without restricting the login elsewhere."
        ) from None


class Database:
    """A bounded connection pool. A request that waits too long for it, or for a query, gets a 503 response."""

    def __init__(self, api_database_url: str, set_role: bool = False) -> None:
        self._pool = AsyncConnectionPool(
            kwargs={
                **parameters(api_database_url),
                "application_name": "engarde_api",
                "client_encoding": "UTF8",
                "autocommit": True,  # a pipeline is one implicit transaction, without BEGIN and COMMIT
            },
            min_size=1,
            max_size=MAX_CONNECTIONS + 1,  # one more to hold the lock
            timeout=_POOL_TIMEOUT,
            open=False,
        )
        self._sets_role = set_role
        self._semaphore = FairSemaphore(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_TENANT)
        self._cancelled: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Open the pool; connections are opened when they are needed."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of this name, which is shared with other processes, until the end of the block.

        Raises:
            Problem: 503, Postgres does not respond in time, or another process holds the lock for too long.
        """
        try:
            async with (
                asyncio.timeout(REQUEST_TIMEOUT) as timeout,
                self._pool.connection() as connection,
                connection.transaction(),
            ):
                await self._begin(connection, _NO_TENANT)
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
                timeout.reschedule(None)
                yield
        except psycopg.errors.QueryCanceled:
            raise unavailable("Another process of the API") from None
        except (TimeoutError, psycopg.OperationalError):
            raise unavailable("Postgres") from None

    async def execute(self, tenant_id: UUID, *statements: Statement) -> list[list[Row]]:
        """Execute the statements in one round trip and one transaction, and return the rows of each.

        Raises:
            Problem: 503, Postgres does not respond in time, or too many requests of this tenant are waiting.
        """
        return await self._with_timeout(self._execute(tenant_id, statements), REQUEST_TIMEOUT)

    async def is_ready(self) -> bool:
        """Whether Postgres responds."""
        try:
            await self._with_timeout(self._execute(_NO_TENANT, []), _POOL_TIMEOUT)
        except Problem:
            return False
        return True

    async def _execute(self, tenant_id: UUID, statements: Sequence[Statement]) -> list[list[Row]]:
        async with self._semaphore.slot(tenant_id):
            # After a restart of Postgres every connection of the pool is broken: retry until all are replaced.
            for _ in range(MAX_CONNECTIONS + 1):
                async with self._pool.connection() as connection:
                    try:
                        return await self._fetch(connection, tenant_id, statements)
                    except psycopg.OperationalError:
                        if not connection.broken:
                            raise
            async with self._pool.connection() as connection:
                return await self._fetch(connection, tenant_id, statements)

    async def _fetch(
        self, connection: psycopg.AsyncConnection, tenant_id: UUID, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        async with connection.pipeline():
            await self._begin(connection, tenant_id)
            cursors = [connection.cursor(row_factory=dict_row) for _ in statements]
            for cursor, (statement, values) in zip(cursors, statements, strict=True):
                await cursor.execute(statement, values)
            return [await cursor.fetchall() for cursor in cursors]

    async def _begin(self, connection: psycopg.AsyncConnection, tenant_id: UUID) -> None:
        # If a statement of a pipeline fails, Postgres skips the following ones.
        if self._sets_role:
            await connection.execute(_SET_ROLE)
        await connection.execute(_TRANSACTION_SETTINGS, [str(tenant_id)])

    async def _with_timeout(self, coroutine: Coroutine[Any, Any, _T], seconds: float) -> _T:
        task = asyncio.create_task(coroutine)
        try:
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                raise unavailable("Postgres")
            return task.result()
        except psycopg.OperationalError:
            raise unavailable("Postgres") from None
        finally:
            # Not awaited: psycopg ends a cancelled query only when Postgres has confirmed it.
            if not task.done():
                task.cancel()
                self._cancelled.add(task)
                task.add_done_callback(self._discard)

    def _discard(self, task: asyncio.Task[Any]) -> None:
        self._cancelled.discard(task)
        if not task.cancelled():
            task.exception()  # the request has had a 503 response; asyncio would log an exception not retrieved
