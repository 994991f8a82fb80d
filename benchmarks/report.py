"""`report.md`: a section for each scale, each written by its own run, and the plots beside it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.plot import draw
from benchmarks.rows import Row
from benchmarks.samples import Samples
from benchmarks.sizes import Size

_HEAD = """# What the pipeline is held to, and what it does

Written by `make bench`; each section by its own run. Every figure stands beside its reference, measured in the
same run: rounds alternate between all that is compared, a figure is the median over the rounds, and "±" is half
the distance between the best and the worst round.
A ratio is the figure over its reference, or where less is better (seconds of totals, WAL) the reference over it.
What each measure does, and why so, stands at the top of its file in this directory.
"""

_COLUMNS = ("measure", "figure", "reference", "ratio", "target", "met", "rounds")


@dataclass(frozen=True)
class Run:
    """A finished run: what the report says of it."""

    scale: int
    options: str
    size: Size
    machine: Mapping[str, str]
    seconds: float
    rows: Sequence[Row]


def write(path: Path, run: Run, samples: Samples) -> None:
    """Put the run's section into the report at `path`, in place of an earlier one, and its plot beside it."""
    picture = path.with_name(f"{path.stem}-{run.scale}m.svg")
    draw(picture, samples, run.size)
    earlier = path.read_text() if path.exists() else ""
    sections = {int(scale): text for scale, text in re.findall(_section(r"(\d+)", "(.*?)"), earlier, re.DOTALL)}
    sections[run.scale] = _text(run, picture.name)
    parts = [_section(str(scale), text) for scale, text in sorted(sections.items())]
    path.write_text("\n".join([_HEAD, *parts]))


def met(row: Row) -> str:
    """Return whether the row meets its target, in a word."""
    return "" if row.met is None else "yes" if row.met else "**no**"


def _section(scale: str, text: str) -> str:
    return f"<!-- scale {scale} -->\n{text}<!-- end -->\n"


def _text(run: Run, picture: str) -> str:
    size = run.size
    lines = [
        f"## {size.rows:,} source rows",
        "",
        f"{size.tenants} tenants, {size.campaigns:,} campaigns, {size.dates:,} dates; measured on"
        f" {date.today().isoformat()} in {run.seconds / 60:.0f} minutes.",  # noqa: DTZ011  a label, where it ran
        f"`python -m benchmarks{run.options}`. Where they were measured, the old design loaded {size.old_rows:,}"
        f" rows, dlt {min(size.peer_rows, size.rows):,}.",
        "",
        *(f"* {label}: {value}" for label, value in run.machine.items()),
        "",
        f"![Rows per second, and where the whole job's time goes]({picture})",
        "",
        _line(_COLUMNS),
        _line("---" for _ in _COLUMNS),
        *(
            _line((row.measure, row.figure, row.reference, row.ratio, row.target, met(row), row.rounds))
            for row in run.rows
            if row.is_measured
        ),
        "",
    ]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
