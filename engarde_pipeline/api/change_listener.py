"""Listens for the notifications of changed dates, over one connection to Postgres per process."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import psycopg

from engarde_pipeline.core import addresses
from engarde_pipeline.postgres.change_notifications import CHANNEL, ChangedDate, parse
from engarde_pipeline.postgres.connection import parameters

logger = logging.getLogger(__name__)

_RECONNECT_SECONDS = 1
_CHECK_SECONDS = 15
"""The interval at which it is checked that the server still responds."""

_TIMEOUT = 5


class Gap:
    """Notifications may have been missed: the connection is a new one."""


async def listen(database_url: str) -> AsyncGenerator[ChangedDate | Gap]:
    """Yield a `Gap` for each new connection, and then each date that is changed. Reconnects without end."""
    is_reported = False
    while True:
        try:
            async for each in _listen_once(database_url):
                is_reported = False
                yield each
        except (psycopg.Error, TimeoutError) as error:
            if not is_reported:
                logger.warning("Live updates are interrupted: %s; connecting again", " ".join(str(error).split()))
                is_reported = True
            await asyncio.sleep(_RECONNECT_SECONDS)


async def _listen_once(database_url: str) -> AsyncGenerator[ChangedDate | Gap]:
    given = {**parameters(database_url), "application_name": "engarde_api live updates"}
    if addresses.names_several_hosts(addresses.parse(database_url)):
        given.setdefault("target_session_attrs", "read-write")  # a standby does not notify
    connection = await psycopg.AsyncConnection.connect(**given, autocommit=True, prepare_threshold=None)
    async with connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        yield Gap()
        while True:
            # What arrives between two calls is kept for the next one.
            async for notification in connection.notifies(timeout=_CHECK_SECONDS):
                if changed := parse(notification.payload):
                    yield changed
            async with asyncio.timeout(_TIMEOUT):
                await connection.execute("SELECT 1")
