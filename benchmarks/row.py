"""A line of the report: a figure, what it is compared with, and the target of their ratio."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import rate
from benchmarks.samples import Samples

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One line of the report. `met` is None where there is no target, or nothing was measured."""

    measure: str
    figure: str
    reference: str = ""
    reference_figure: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    rounds: str = ""
    is_in_table_of_peers: bool = False
    """Whether the report's table of peers says the same."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a figure."""
        return self.figure != NOT_MEASURED

    def cells(self, met: str) -> tuple[str, ...]:
        """Return what the columns of a table show, with `met` in the last but one."""
        reference = f"{self.reference}: {self.reference_figure}" if self.reference_figure else self.reference
        return (self.measure, self.figure, reference, shown(self.ratio), self.target, met, self.rounds)


COLUMNS = ("measure", "figure", "reference", "ratio", "target", "met", "rounds")


@dataclass(frozen=True)
class Target:
    """What a ratio is held to."""

    limit: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:,g}"

    def is_met(self, ratio: float) -> bool:
        """Whether `ratio` is good enough."""
        return ratio <= self.limit if self.at_most else ratio >= self.limit


def shown(ratio: float | None) -> str:
    """Return a ratio as people read it."""
    return "" if ratio is None else f"{ratio:,.2f} x" if ratio < 10 else f"{ratio:,.0f} x"


def compare(
    samples: Samples,
    measure: str,
    name: str,
    reference: str,
    reference_name: str,
    target: Target | None = None,
    show: Callable[[float], str] = rate,
    is_cost: bool = False,
) -> Row:
    """Compare two medians: how many times the reference's figure ours is.

    With `is_cost`, where less is better, how many times less it is, unless the target is an upper limit.
    """
    ours, theirs = samples.median(name), samples.median(reference_name)
    has_limit_above = target is not None and target.at_most
    ratio = None
    if ours and theirs:
        ratio = theirs / ours if is_cost and not has_limit_above else ours / theirs
    return Row(
        measure,
        NOT_MEASURED if ours is None else show(ours),
        reference,
        "" if theirs is None else show(theirs),
        ratio,
        str(target) if target else "",
        target.is_met(ratio) if target and ratio is not None else None,
        samples.spread(name),
    )


def held(samples: Samples, measure: str, name: str, target: Target, show: Callable[[float], str]) -> Row:
    """Hold a figure itself to a target, where no ratio says whether it is good enough."""
    ours = samples.median(name)
    return Row(
        measure,
        NOT_MEASURED if ours is None else show(ours),
        target=f"{'≤' if target.at_most else '≥'} {show(target.limit)}",
        met=None if ours is None else target.is_met(ours),
        rounds=samples.spread(name),
    )
