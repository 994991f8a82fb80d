"""`history.csv`: the ratios of each release, a line per release and measure.

Only ratios are kept. Figures say as much of the machine as of the code; a ratio compares two programs that took
turns on one machine.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from benchmarks.row import Row

NAME = "history.csv"


@dataclass(frozen=True)
class Ratio:
    """A ratio of a release."""

    release: str
    measured_on: str
    rows: int
    measure: str
    reference: str
    target: str
    ratio: float

    @property
    def subject(self) -> tuple[int, str, str]:
        """What is compared with what, in every release alike."""
        return (self.rows, self.measure, self.reference)


def read(path: Path) -> list[Ratio]:
    """Return all ratios, the oldest release first."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_parsed(line) for line in csv.DictReader(file)]


def write(path: Path, release: str, size: int, rows: Iterable[Row]) -> None:
    """Add the ratios of `release` with `size` source rows; they replace those of an earlier run."""
    kept = [ratio for ratio in read(path) if (ratio.release, ratio.rows) != (release, size)]
    today = date.today().isoformat()  # noqa: DTZ011  a label, where it ran
    added = [
        Ratio(release, today, size, row.measure, row.reference, row.target, float(f"{row.ratio:.3g}"))
        for row in rows
        if row.ratio is not None
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Ratio.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(ratio) for ratio in [*kept, *added])


def _parsed(line: Mapping[str, str]) -> Ratio:
    return Ratio(**{**line, "rows": int(line["rows"]), "ratio": float(line["ratio"])})  # type: ignore[arg-type]
