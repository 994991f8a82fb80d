"""Postgres, as the API sees it: through a small pool, as a role that sees one tenant at a time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from engarde_pipeline.api.errors import Problem, unavailable
from engarde_pipeline.api.fair_semaphore import Turns
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.connection import DatabaseUnavailable, connect, parameters
from engarde_pipeline.postgres.reads.metrics_queries import Statement
from engarde_pipeline.settings import API_ROLE

CONNECTIONS = 4
"""More than keep a small server's cores busy take turns on them, and the slowest answers get slower."""

CONNECTIONS_OF_A_TENANT = 2
"""The others are for the other tenants, however much one of them asks."""

_WAIT_SECONDS = 2
_QUERY_SECONDS = 4
SECONDS = 5
"""No request waits longer for Postgres, all in all."""

# What each transaction sets for itself. Not when the connection is made: a pooler refuses startup options, and may
# give the next transaction to another server process. Compiling a query (jit) takes longer than any of these does.
_BEGIN = f"""
SELECT set_config('statement_timeout', '{1000 * _QUERY_SECONDS}', true),
       set_config('transaction_read_only', 'on', true),
       set_config('row_security', 'on', true),
       set_config('jit', 'off', true),
       set_config('datestyle', 'ISO', true),
       set_config('engarde.tenant_id', %s, true)
"""

_TAKE_ROLE = f"SELECT set_config('role', '{API_ROLE}', true)"
"""First of all where the login is not the API's own: what follows has the rights of the role, or fails."""

# A policy binds whoever has the rights of its role. Not so a superuser, an owner of the table, or one that
# bypasses row security: none of the roles that the login has, or could take, may be such a one, or read these
# tables on rights of its own.
_RESTRICTED = """
WITH tables AS (
    SELECT oid, relowner, relrowsecurity FROM pg_class
    WHERE oid IN ('campaign_metrics'::regclass, 'campaign_asset_metrics'::regclass, 'platform_days'::regclass)
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

_NOBODY = UUID(int=0)

Row = dict[str, Any]
_T = TypeVar("_T")


class NotIsolated(EngardeError):
    """The API's login could see every tenant's rows."""


def check_isolation(api_database_url: str, takes_role: bool = False) -> None:
    """Check that Postgres itself restricts the API's login to one tenant; with `takes_role`, once it has the role.

    Raises:
        NotIsolated: it does not.
        DatabaseUnavailable: there is no such server, or it refuses the login.
    """
    try:
        opened = connect(api_database_url)
    except DatabaseUnavailable as error:
        if f'role "{API_ROLE}"' not in str(error):
            raise
        raise NotIsolated(
            f"{error} `engarde db upgrade` creates the role {API_ROLE}; ALTER ROLE {API_ROLE} LOGIN PASSWORD '...'"
            " lets it log in."
        ) from None
    with opened as connection, connection.transaction():
        if takes_role:
            _take_role(connection)
        try:
            row = connection.execute(_RESTRICTED).fetchone()
        except psycopg.errors.UndefinedTable:
            raise NotIsolated("The schema is not current; run `engarde db upgrade`.") from None
        if not row or not row[0]:
            raise NotIsolated(
                f"The role {connection.info.user} of API_DATABASE_URL is not restricted to one tenant. Run"
                f" `engarde db upgrade`, then ALTER ROLE {API_ROLE} LOGIN PASSWORD '...'; and let the API log in"
                f" as {API_ROLE}."
            )


def _take_role(connection: psycopg.Connection) -> None:
    try:
        connection.execute(_TAKE_ROLE)
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege) as error:
        raise NotIsolated(
            f"The role {connection.info.user} of DATABASE_URL cannot take the role {API_ROLE}:"
            f" {error.diag.message_primary}. `engarde db upgrade` creates the role. Give the API a login of its"
            f" own, API_DATABASE_URL; or, from PostgreSQL 16 on, GRANT {API_ROLE} TO the login of DATABASE_URL"
            " WITH INHERIT FALSE, so that it may take the role and is not restricted by it elsewhere."
        ) from None


class Database:
    """The pool. It is bounded, and so is waiting for it: what cannot be answered soon is answered with 503."""

    def __init__(self, api_database_url: str, takes_role: bool = False) -> None:
        self._pool = AsyncConnectionPool(
            kwargs={
                **parameters(api_database_url),
                "application_name": "engarde_api",
                "client_encoding": "UTF8",
                "autocommit": True,  # a pipeline is a transaction of its own, without a BEGIN and a COMMIT
            },
            min_size=1,
            max_size=CONNECTIONS + 1,  # and one to hold the lock
            timeout=_WAIT_SECONDS,
            open=False,
        )
        self._takes_role = takes_role
        self._turns = Turns(CONNECTIONS, CONNECTIONS_OF_A_TENANT)
        self._broken_off: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Open the pool; connections are made as they are needed."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of that name, beside every other process, until the end of the block.

        Raises:
            Problem: 503, Postgres does not answer in time, or another process holds the lock for long.
        """
        try:
            async with (
                asyncio.timeout(SECONDS) as wait,
                self._pool.connection() as connection,
                connection.transaction(),
            ):
                await self._begin(connection, _NOBODY)
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
                wait.reschedule(None)
                yield
        except psycopg.errors.QueryCanceled:
            raise unavailable("Another process of the API") from None
        except (TimeoutError, psycopg.OperationalError):
            raise unavailable("Postgres") from None

    async def ask(self, tenant_id: UUID, *statements: Statement) -> list[list[Row]]:
        """Return the rows of each statement, asked in one round trip, which is one transaction.

        Raises:
            Problem: 503, Postgres does not answer in time, or not so many requests of this tenant.
        """
        return await self._soon(self._ask(tenant_id, statements), SECONDS)

    async def is_ready(self) -> bool:
        """Whether Postgres answers."""
        try:
            await self._soon(self._ask(_NOBODY, []), _WAIT_SECONDS)
        except Problem:
            return False
        return True

    async def _ask(self, tenant_id: UUID, statements: Sequence[Statement]) -> list[list[Row]]:
        async with self._turns.turn(tenant_id):
            # Where Postgres was restarted, each connection of the pool finds out for itself.
            for _ in range(CONNECTIONS + 1):
                async with self._pool.connection() as connection:
                    try:
                        return await self._answers(connection, tenant_id, statements)
                    except psycopg.OperationalError:
                        if not connection.broken:
                            raise
            async with self._pool.connection() as connection:
                return await self._answers(connection, tenant_id, statements)

    async def _answers(
        self, connection: psycopg.AsyncConnection, tenant_id: UUID, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        async with connection.pipeline():
            await self._begin(connection, tenant_id)
            cursors = [connection.cursor(row_factory=dict_row) for _ in statements]
            for cursor, (statement, values) in zip(cursors, statements, strict=True):
                await cursor.execute(statement, values)
            return [await cursor.fetchall() for cursor in cursors]

    async def _begin(self, connection: psycopg.AsyncConnection, tenant_id: UUID) -> None:
        # Each statement is its own message: where one fails, Postgres skips all that follow.
        if self._takes_role:
            await connection.execute(_TAKE_ROLE)
        await connection.execute(_BEGIN, [str(tenant_id)])

    async def _soon(self, asking: Coroutine[Any, Any, _T], seconds: float) -> _T:
        task = asyncio.create_task(asking)
        try:
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                raise unavailable("Postgres")
            return task.result()
        except psycopg.OperationalError:
            raise unavailable("Postgres") from None
        finally:
            # To break off takes psycopg as long as Postgres takes to hear of it: nobody waits for that.
            if not task.done():
                task.cancel()
                self._broken_off.add(task)
                task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._broken_off.discard(task)
        if not task.cancelled():
            task.exception()  # was said already: 503
