"""How long the steps of a sync take, as its spans tell: staging, preparing the records, merging the dates."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = ("stage", "prepare", "merge")

_logger = logging.getLogger("engarde.spans")


class _Sums(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Add the seconds of a span."""
        self.seconds[record.getMessage()] += vars(record)["duration_seconds"]


@contextmanager
def measured() -> Iterator[Counter[str]]:
    """Yield the seconds of each step within the block, added up over all connections."""
    sums, level = _Sums(), _logger.level
    _logger.addHandler(sums)
    _logger.setLevel(logging.INFO)
    try:
        yield sums.seconds
    finally:
        _logger.setLevel(level)
        _logger.removeHandler(sums)
