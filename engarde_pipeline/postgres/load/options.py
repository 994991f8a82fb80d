"""The options of a load: its run, its scope, how far a date may shrink or grow, and whether it is a dry run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from engarde_pipeline.postgres.advisory_locks import DEFAULT_WAIT, LockWait
from engarde_pipeline.postgres.load.scope import EVERYTHING, Scope


@dataclass(frozen=True)
class LoadOptions:
    """The options of a load.

    `run_id` is stored in every row that changes. `shrink_threshold` is the smallest share of a date's rows that
    may remain (rule 5). `growth_threshold` is how many times larger a complete date may become; with it, repeated
    source rows are refused, too (rule 12). None turns these checks off. `allowed` are the options of the caller by
    which dates land that would be refused: `allow_shrink`, `allow_growth`. `versions` are the versions of the
    BigQuery partitions, read at `read_at`, before the dates are read; they become the held versions, for whole
    dates only. A `dry_run` is rolled back, and its merges return the changes, too (rule 16). `lock_wait` says how
    the load waits for other syncs, and whether it was asked to end.
    """

    run_id: UUID
    shrink_threshold: float | None
    growth_threshold: float | None
    scope: Scope = EVERYTHING
    versions: Mapping[date, str] = field(default_factory=dict)
    dry_run: bool = False
    allowed: frozenset[str] = frozenset()
    read_at: datetime | None = None
    lock_wait: LockWait = DEFAULT_WAIT

    @property
    def replaces_whole_dates(self) -> bool:
        """Whether whole dates are replaced, not a slice of them."""
        return self.scope == EVERYTHING
