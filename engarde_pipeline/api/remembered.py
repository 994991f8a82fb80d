"""Answers of before, given again for as long as what they were made of stands unchanged in Postgres."""

from dataclasses import dataclass

from cachetools import TTLCache

from engarde_pipeline.api.database import Database, Row
from engarde_pipeline.postgres.metrics_queries import Statement, Wanted, state

_BYTES = 64 * 2**20
_SECONDS = 600
"""What nobody has asked for again by then is forgotten."""

_Key = tuple[str, ...]


@dataclass(frozen=True)
class _Answer:
    state: str
    row: Row

    @property
    def size(self) -> int:
        return len(self.row["groups"])


class Remembered:
    """Answers of this process, by tenant and question.

    To ask whether the rows have changed reads a few sums; to add hundreds of campaigns up again reads every row.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: TTLCache[_Key, _Answer] = TTLCache(_BYTES, _SECONDS, getsizeof=lambda answer: answer.size)

    async def groups(self, wanted: Wanted, statement: Statement) -> Row:
        """Return the row of a statement of `metrics_queries.groups` about `wanted`, as Postgres has it now.

        Raises:
            Problem: 503, Postgres does not answer in time.
        """
        text, values = statement
        key = (str(wanted.tenant_id), str(text), *map(str, values.values()))
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
