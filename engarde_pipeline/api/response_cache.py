"""Answers of before, given again for as long as what they were made of stands unchanged in Postgres."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from cachetools import TTLCache

from engarde_pipeline.api.database import SECONDS, Database, Row
from engarde_pipeline.api.errors import unavailable
from engarde_pipeline.postgres.reads.metrics_queries import Statement, Wanted, state

_BYTES = 64 * 2**20
_SECONDS = 600
"""No answer is given for longer, changed or not."""

_OVERHEAD_BYTES = 1000
"""What an answer takes besides its text."""


_Question = tuple[UUID, bytes]
"""Whose, and the statement's digest."""


@dataclass(frozen=True)
class _Answer:
    state: str
    row: Row

    @property
    def size(self) -> int:
        return len(self.row["groups"]) + _OVERHEAD_BYTES


class Remembered:
    """Answers of this process, by tenant and question.

    To ask whether the rows have changed reads a few sums; to add hundreds of campaigns up again reads every row.
    Of equal questions one is asked at a time. Those that come meanwhile are answered together by the next one: the
    one under way may have begun before a change that they must see.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: TTLCache[_Question, _Answer] = TTLCache(
            _BYTES, _SECONDS, getsizeof=lambda answer: answer.size
        )
        self._under_way: dict[_Question, asyncio.Task[Row]] = {}
        self._next: dict[_Question, asyncio.Task[Row]] = {}

    async def groups(self, wanted: Wanted, statement: Statement) -> Row:
        """Return the row of a statement of `metrics_queries.groups` about `wanted`, as Postgres has it now.

        Raises:
            Problem: 503, Postgres does not answer in time.
        """
        question = wanted.tenant_id, sha256(repr(statement).encode()).digest()
        task = self._next.get(question)
        if task is None:
            task = asyncio.create_task(self._ask_in_turn(question, wanted, statement))
            task.add_done_callback(_retrieve)
            self._next[question] = task
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.shield(task)  # others may wait for it
        except TimeoutError:
            raise unavailable("Postgres") from None

    async def _ask_in_turn(self, question: _Question, wanted: Wanted, statement: Statement) -> Row:
        if before := self._under_way.get(question):
            await asyncio.wait([before])
        self._under_way[question] = self._next.pop(question)
        try:
            return await self._ask(question, wanted, statement)
        finally:
            del self._under_way[question]

    async def _ask(self, question: _Question, wanted: Wanted, statement: Statement) -> Row:
        answer = self._answers.get(question)
        if answer:
            ((found,),) = await self._database.ask(wanted.tenant_id, state(wanted))
            if found["state"] == answer.state:
                return answer.row
        # The state first: an answer newer than its state is asked for again, one older would go on being given.
        (found,), (row,) = await self._database.ask(wanted.tenant_id, state(wanted), statement)
        row["groups"] = row["groups"].encode()  # once, not for each who asks
        answer = _Answer(found["state"], row)
        if answer.size <= _BYTES:
            self._answers[question] = answer
        return row


def _retrieve(task: asyncio.Task[Row]) -> None:
    if not task.cancelled():
        task.exception()  # told to those who waited; perhaps nobody did any more
