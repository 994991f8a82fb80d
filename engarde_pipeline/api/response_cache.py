"""A cache of query results, each of which is valid as long as the rows that it was computed from are unchanged."""

import asyncio
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from uuid import UUID

from cachetools import TTLCache
from psycopg import sql

from engarde_pipeline.api.database import REQUEST_TIMEOUT, Database, Row
from engarde_pipeline.api.errors import unavailable
from engarde_pipeline.api.json_response import JsonArray
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.shared_queries import SharedQueries
from engarde_pipeline.postgres.reads.metrics_queries import Statement

_MAX_BYTES = 64 * 2**20
_TTL_SECONDS = 600
_ENTRY_OVERHEAD_BYTES = 1000
"""The size of an entry without its JSON."""


_Key = tuple[UUID, sql.SQL | bytes, bytes]
"""The tenant's id, the text of the statement, and a digest of its values."""

_THREAD_CHARACTERS = 100_000
"""From which size the groups are hashed in a thread, because other requests would wait for it."""


@dataclass(frozen=True)
class Question:
    """A question for groups.

    `statement` is answered from the cache while the value of `fingerprint` stays the same, and the `version` of
    `names`, if there are any. `recheck` has the fingerprint, too, and those columns of `statement` that are read
    again then. What the question refers to is checked in the same round trip.
    """

    references: References
    statement: Statement
    fingerprint: Statement
    recheck: Statement
    names: Statement | None = None

    @cached_property
    def key(self) -> _Key:
        """The same for equal questions."""
        text, values = self.statement
        return self.references.tenant_id, text, sha256(repr(values).encode()).digest()


@dataclass(frozen=True)
class _Entry:
    versions: tuple[int | None, str | None]
    """Of the names, and of the rows; None if there are none."""
    row: Row

    @property
    def size(self) -> int:
        texts = (value.text if isinstance(value, JsonArray) else value for value in self.row.values())
        return sum(len(text) for text in texts if isinstance(text, str | bytes)) + _ENTRY_OVERHEAD_BYTES


class ResponseCache:
    """The cached results of this process, by tenant and statement.

    Checking whether the rows have changed reads a few sums; computing a result again adds up every row. Equal
    requests share their queries, and all requests of a tenant those for the version of its campaigns or assets.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: TTLCache[_Key, _Entry] = TTLCache(
            _MAX_BYTES, _TTL_SECONDS, getsizeof=lambda entry: entry.size
        )
        self._answers = SharedQueries[Row]()
        self._names = SharedQueries[int | None]()

    async def groups(self, question: Question) -> Row:
        """Return the current answer to a question; its `groups` are a `JsonArray`.

        Raises:
            Problem: as `check_and_execute`; 503, Postgres does not respond in time.
        """
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await self._answers.get(question.key, partial(self._get, question))
        except TimeoutError:
            raise unavailable("Postgres") from None

    async def _get(self, question: Question) -> Row:
        # The versions first: a result newer than its versions is only computed again too early, but an older one
        # would stay in the cache.
        names = await self._version_of_names(question)
        entry = self._entries.get(question.key)
        if entry:
            ((current,),) = await self._execute(question, question.recheck)
            if (names, current["fingerprint"]) == entry.versions:
                return {**entry.row, **current}  # what `current` says besides is as new
        (current,), (row,) = await self._execute(question, question.fingerprint, question.statement)
        row["groups"] = await _array(row["groups"])
        entry = _Entry((names, current["fingerprint"]), row)
        if entry.size <= _MAX_BYTES:
            self._entries[question.key] = entry
        return row

    async def _version_of_names(self, question: Question) -> int | None:
        statement, tenant_id = question.names, question.references.tenant_id
        if statement is None:
            return None

        async def read() -> int | None:
            ((row,),) = await self._database.execute(tenant_id, statement)
            version: int | None = row["version"]
            return version

        return await self._names.get((tenant_id, statement[0]), read)

    async def _execute(self, question: Question, *statements: Statement) -> list[list[Row]]:
        _, rows = await check_and_execute(self._database, question.references, *statements)
        return rows


async def _array(text: str) -> JsonArray:
    return JsonArray.of(text) if len(text) < _THREAD_CHARACTERS else await asyncio.to_thread(JsonArray.of, text)
