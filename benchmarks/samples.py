"""What was measured: under each name the figures of every round."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median


class Samples:
    """Figures by name; the report speaks of their medians."""

    def __init__(self) -> None:
        self._figures: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, figure: float) -> None:
        """Add one round's figure."""
        self._figures[name].append(figure)

    @contextmanager
    def rate(self, name: str, rows: int) -> Iterator[None]:
        """Add the rows per second at which the block gets through `rows`."""
        started = time.perf_counter()
        yield
        self.add(name, rows / (time.perf_counter() - started))

    def median(self, name: str) -> float | None:
        """Return the median, or None where nothing was measured."""
        figures = self._figures.get(name)
        return median(figures) if figures else None

    def total(self, name: str) -> float | None:
        """Return the sum, or None where nothing was measured."""
        figures = self._figures.get(name)
        return sum(figures) if figures else None

    def spread(self, name: str) -> str:
        """Return how many rounds there were and how far apart, for the reader to judge the noise."""
        figures = self._figures.get(name, [])
        if len(figures) < 2:
            return str(len(figures)) if figures else ""
        low, high = min(figures), max(figures)
        return (
            f"{len(figures)}, ±{50 * (high - low) / median(figures):.0f} %"
            if median(figures)
            else str(len(figures))
        )

    def as_dict(self) -> dict[str, list[float]]:
        """Return all figures."""
        return dict(self._figures)
