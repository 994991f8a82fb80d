"""The cursor of a sensor: its state between two ticks, stored as JSON."""

import logging
from typing import ClassVar, Self

from pydantic import BaseModel, ValidationError

logger = logging.getLogger(__name__)


class Cursor(BaseModel):
    """The base of the sensors' cursors.

    A subclass declares `version` as a `Literal`, and counts it up when the meaning of its fields changes. A cursor
    that cannot be read (written by another version of the code, or edited by hand) is replaced by an empty one, so
    that the tick does not fail.
    """

    sensor: ClassVar[str]
    if_unreadable: ClassVar[str]
    """What happens when the cursor is replaced, for the log."""

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Return the cursor that `write` returned, or an empty one if there is none or it cannot be read."""
        if not text:
            return cls()
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            logger.warning(
                "The cursor of the sensor %s cannot be read (%d errors). %s",
                cls.sensor,
                error.error_count(),
                cls.if_unreadable,
            )
            return cls()

    def write(self) -> str:
        """Return the text to store."""
        return self.model_dump_json()
