"""A cache of query results, each of which is valid as long as the rows that it was computed from are unchanged."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from cachetools import TTLCache

from engarde_pipeline.api.database import REQUEST_TIMEOUT, Database, Row
from engarde_pipeline.api.errors import unavailable
from engarde_pipeline.api.json_response import JsonArray
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.postgres.reads.metrics_queries import Statement

_MAX_BYTES = 64 * 2**20
_TTL_SECONDS = 600
_ENTRY_OVERHEAD_BYTES = 1000
"""The size of an entry without its JSON."""


_Key = tuple[UUID, bytes]
"""The tenant's id, and a digest of the statement."""

_THREAD_CHARACTERS = 100_000
"""From which size the groups are hashed in a thread, because other requests would wait for it."""


@dataclass(frozen=True)
class Question:
    """A question for groups.

    `statement` is answered from the cache while the value of `fingerprint` stays the same. `recheck` has the
    fingerprint, too, and those columns of `statement` that are read again then. What the question refers to is
    checked in the same round trip.
    """

    references: References
    statement: Statement
    fingerprint: Statement
    recheck: Statement

    @property
    def key(self) -> _Key:
        """The same for equal questions."""
        return self.references.tenant_id, sha256(repr(self.statement).encode()).digest()


@dataclass(frozen=True)
class _Entry:
    fingerprint: str
    row: Row

    @property
    def size(self) -> int:
        texts = (value.text if isinstance(value, JsonArray) else value for value in self.row.values())
        return sum(len(text) for text in texts if isinstance(text, str | bytes)) + _ENTRY_OVERHEAD_BYTES


class ResponseCache:
    """The cached results of this process, by tenant and statement.

    Checking whether the rows have changed reads a few sums, or for assets the versions of the rows; computing a
    result again adds up every row.
    Equal requests share queries: one query runs at a time, and requests that arrive while it runs share the next
    one, because the running one may have begun before a change that they must see.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: TTLCache[_Key, _Entry] = TTLCache(
            _MAX_BYTES, _TTL_SECONDS, getsizeof=lambda entry: entry.size
        )
        self._running: dict[_Key, asyncio.Task[Row]] = {}
        self._next: dict[_Key, asyncio.Task[Row]] = {}

    async def groups(self, question: Question) -> Row:
        """Return the current answer to a question; its `groups` are a `JsonArray`.

        Raises:
            Problem: as `check_and_execute`; 503, Postgres does not respond in time.
        """
        key = question.key
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run_next(key, question))
            task.add_done_callback(_retrieve_exception)
            self._next[key] = task
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await asyncio.shield(task)  # other requests may wait for it
        except TimeoutError:
            raise unavailable("Postgres") from None

    async def _run_next(self, key: _Key, question: Question) -> Row:
        if running := self._running.get(key):
            await asyncio.wait([running])
        self._running[key] = self._next.pop(key)
        try:
            return await self._get(key, question)
        finally:
            del self._running[key]

    async def _get(self, key: _Key, question: Question) -> Row:
        entry = self._entries.get(key)
        if entry:
            ((current,),) = await self._execute(question, question.recheck)
            if current["fingerprint"] == entry.fingerprint:
                return {**entry.row, **current}  # what `current` says besides is as new
        # The fingerprint first: a result newer than its fingerprint is only computed again too early, but an older
        # one would stay in the cache.
        (current,), (row,) = await self._execute(question, question.fingerprint, question.statement)
        row["groups"] = await _array(row["groups"])
        entry = _Entry(current["fingerprint"], row)
        if entry.size <= _MAX_BYTES:
            self._entries[key] = entry
        return row

    async def _execute(self, question: Question, *statements: Statement) -> list[list[Row]]:
        _, rows = await check_and_execute(self._database, question.references, *statements)
        return rows


async def _array(text: str) -> JsonArray:
    return JsonArray.of(text) if len(text) < _THREAD_CHARACTERS else await asyncio.to_thread(JsonArray.of, text)


def _retrieve_exception(task: asyncio.Task[Row]) -> None:
    # The waiting requests get the exception; without any, asyncio would log that it was never retrieved.
    if not task.cancelled():
        task.exception()
