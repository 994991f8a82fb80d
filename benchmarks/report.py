"""`report.md`: a section for each scale, each written by its own run, the plots beside it, and the releases."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks import releases
from benchmarks.peer_loads import FIRST, LIMIT, LOADS, OURS, OURS_OVER_ONE
from benchmarks.peers import PEERS
from benchmarks.peers.peer import NO_PEER_DOES
from benchmarks.plot import draw
from benchmarks.row import COLUMNS, Row, shown
from benchmarks.samples import Samples
from benchmarks.sizes import Size

_HEAD = """# What the pipeline is held to, and what it does

Written by `make bench`; each section by its own run. [How to read it, and how to run it](../docs/benchmarks.md).
"""


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
    """Put the run's section into the report at `path`, in place of an earlier one, and its plot beside it.

    The ratios by release come from `history.csv` beside it.
    """
    picture = path.with_name(f"{path.stem}-{run.scale}m.svg")
    has_picture = draw(picture, samples, run.size)
    earlier = path.read_text() if path.exists() else ""
    sections = {int(scale): text for scale, text in re.findall(_section(r"(\d+)", "(.*?)"), earlier, re.DOTALL)}
    sections[run.scale] = _text(run, samples, picture.name if has_picture else None)
    parts = [_section(str(scale), text) for scale, text in sorted(sections.items())]
    path.write_text("\n".join([_HEAD, *parts, *_releases(releases.read(path.with_name(releases.NAME)))]))


def met(row: Row) -> str:
    """Return whether the row meets its target, in a word."""
    return "" if row.met is None else "yes" if row.met else "**no**"


def _section(scale: str, text: str) -> str:
    return f"<!-- scale {scale} -->\n{text}<!-- end -->\n"


def _text(run: Run, samples: Samples, picture: str | None) -> str:
    size = run.size
    lines = [
        f"## {size.rows:,} source rows",
        "",
        f"{size.tenants} tenants, {size.campaigns:,} campaigns, {size.dates:,} dates; measured on"
        f" {date.today().isoformat()} in {run.seconds / 60:.0f} minutes by"  # noqa: DTZ011  a label, where it ran
        f" `python -m benchmarks{run.options}`.",
        "",
        *(f"* {label}: {value}" for label, value in run.machine.items()),
        "",
        *([f"![Rows per second of the pipeline, its peers and the limit]({picture})", ""] if picture else []),
        *_peers(size, samples),
        "### Every measure",
        "",
        f"Where it was measured, the old design loaded {size.old_rows:,} rows.",
        "",
        *_table(
            COLUMNS, (row.cells(met(row)) for row in run.rows if row.is_measured and not row.is_in_table_of_peers)
        ),
        "",
    ]
    return "\n".join(lines)


def _peers(size: Size, samples: Samples) -> list[str]:
    """Return the table of all programs that loaded the same rows, and what each of them leaves out."""
    programs = {
        OURS: ("**engarde_pipeline**", ""),
        OURS_OVER_ONE: ("**engarde_pipeline**, one connection", ""),
        LIMIT: ("limit: COPY BINARY of finished rows, one connection", "only copies"),
        **{
            peer.name: (f"{peer.label} ({_versions(peer.packages)})", peer.does_less)
            for peer in PEERS
            if peer.is_installed()
        },
    }
    medians = {name: [samples.median(f"peers.{name}.{load}") for load in LOADS] for name in programs}
    if not any(rates[0] for rates in medians.values()):
        return []
    loads = ("first load" if load == FIRST else f"{load} % changed" for load in LOADS)
    lines = (
        (label, *("" if rate is None else f"{float(f'{rate:.3g}'):,.0f}" for rate in medians[name]), less)
        for name, (label, less) in programs.items()
        if medians[name][0]
    )
    return [
        "### Beside peers",
        "",
        f"Rows per second of {size.peer_rows:,} rows into a table with the same indexes."
        " After each load, the table was compared with the source row by row.",
        "",
        *_table(("program", *loads, "does less"), lines),
        "",
        f"No peer has to {NO_PEER_DOES}.",
        "",
    ]


def _versions(packages: Sequence[str]) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages)


def _releases(ratios: Sequence[releases.Ratio]) -> list[str]:
    """Return the section on the ratios that have a target, with a column for each release."""
    if not ratios:
        return []
    names = list(dict.fromkeys(ratio.release for ratio in ratios))
    held = {ratio.subject: ratio.target for ratio in ratios if ratio.target}  # the newest target
    found = {(ratio.subject, ratio.release): ratio.ratio for ratio in ratios}
    lines = (
        (
            f"{rows:,}",
            measure,
            reference,
            target,
            *(shown(found.get(((rows, measure, reference), name))) for name in names),
        )
        for (rows, measure, reference), target in held.items()
    )
    return [
        "## Ratios by release",
        "",
        *_table(("source rows", "measure", "reference", "target", *names), lines),
        "",
    ]


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [_line(columns), _line("---" for _ in columns), *map(_line, lines)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
