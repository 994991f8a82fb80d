"""How dates are to be loaded: by which run, which part of them, and how far they may shrink."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from engarde_pipeline.postgres.load.scope import EVERYTHING, Scope


@dataclass(frozen=True)
class LoadOptions:
    """What a load does besides its dates.

    Every number that changes carries `run_id`. `shrink_threshold` is rule 5's, the smallest share of the rows that
    Postgres has that may be left; None where the caller says that shrinking is intended. `versions` are those of
    BigQuery's partitions, read before the dates are: they are noted beside the dates, for whole dates only.
    """

    run_id: UUID
    shrink_threshold: float | None
    scope: Scope = EVERYTHING
    versions: Mapping[date, str] = field(default_factory=dict)

    @property
    def is_of_whole_dates(self) -> bool:
        """Whether dates are replaced whole, not a slice of them."""
        return self.scope == EVERYTHING
