"""Answers of before, given again for as long as what they were made of stands unchanged in Postgres."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from cachetools import TTLCache

from engarde_pipeline.api.database import Database, Row
from engarde_pipeline.postgres.metrics_queries import Statement, Wanted, state

_BYTES = 64 * 2**20
_SECONDS = 600
"""No answer is given for longer, changed or not."""

_OVERHEAD_BYTES = 1000
"""What an answer takes besides its text."""


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
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: TTLCache[tuple[UUID, bytes], _Answer] = TTLCache(
            _BYTES, _SECONDS, getsizeof=lambda answer: answer.size
        )

    async def groups(self, wanted: Wanted, statement: Statement) -> Row:
        """Return the row of a statement of `metrics_queries.groups` about `wanted`, as Postgres has it now.

        Raises:
            Problem: 503, Postgres does not answer in time.
        """
        key = wanted.tenant_id, sha256(repr(statement).encode()).digest()
        answer = self._answers.get(key)
        if answer:
            ((found,),) = await self._database.ask(wanted.tenant_id, state(wanted))
            if found["state"] == answer.state:
                return answer.row
        # The state first: an answer newer than its state is asked for again, one older would go on being given.
        (found,), (row,) = await self._database.ask(wanted.tenant_id, state(wanted), statement)
        answer = _Answer(found["state"], row)
        if answer.size <= _BYTES:
            self._answers[key] = answer
        return row
