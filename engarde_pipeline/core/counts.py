"""The counts of a date's records, and the names under which they are published (rule 2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """How many records were processed, with which result, and how many rows were deleted.

    Every record is inserted, updated, unchanged or rejected. `source_rows` is the number of BigQuery rows from
    which the records were summed.
    """

    processed: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0
    source_rows: int = 0

    @property
    def add_up(self) -> bool:
        """Whether every processed record is counted exactly once."""
        return self.processed == self.inserted + self.updated + self.unchanged + self.rejected

    @property
    def loaded(self) -> int:
        """How many records are in the target now."""
        return self.processed - self.rejected

    @property
    def changed(self) -> int:
        """How many rows of the target were written or deleted."""
        return self.inserted + self.updated + self.deleted

    @property
    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"{self.inserted} inserted, {self.updated} updated, {self.unchanged} unchanged,"
            f" {self.deleted} deleted, {self.rejected} rejected"
        )

    @property
    def published(self) -> dict[str, int]:
        """The counts by their names in Dagster metadata, in run tags and in the API."""
        return {name: getattr(self, field) for name, field in PUBLISHED_NAMES.items()}

    @classmethod
    def from_published(cls, values: Mapping[str, object]) -> "Counts":
        """Return the counts from their published names; a missing name counts 0."""
        return cls(**{field: int(str(values.get(name, 0))) for name, field in PUBLISHED_NAMES.items()})

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


PUBLISHED_NAMES = {
    "records_processed": "processed",
    "records_inserted": "inserted",
    "records_updated": "updated",
    "records_unchanged": "unchanged",
    "records_deleted": "deleted",
    "records_rejected": "rejected",
    "source_rows": "source_rows",
}
"""The field of `Counts` for each published name, in display order."""


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    return sum(counts, Counts())
