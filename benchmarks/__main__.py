"""`python -m benchmarks`: measure, show the table, write the report."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import releases, report, suite
from benchmarks.machine import machine
from benchmarks.progress import Bars
from benchmarks.row import COLUMNS, Row
from benchmarks.rows import rows_of
from benchmarks.samples import Samples
from benchmarks.sizes import QUICK, of_scale
from benchmarks.world import opened
from engarde_pipeline.core.plurals import counted

REPORT = Path(__file__).with_name("report.md")

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

_HELP = """Measure the pipeline beside the limit, the design it replaces, and its peers, in one run.

Everything that is compared takes turns on the same embedded Postgres, with the same rows and indexes; \
a figure is the median of its rounds. What a program leaves in its table is compared with the source.

[bold]Measures[/bold] (--only takes some of them, with commas between):

{measures}

[bold]Examples[/bold]

  make bench                                        everything: {minutes:.0f} minutes on two cores, 5 GB of disk

  make bench BENCH="--only peers --repeat 1"        the peers once: a few minutes, and no report

  make bench BENCH="--scale 10 --only totals,api"   with ten million rows: 20 GB of disk

  make bench BENCH=--quick                          whether it runs: a hundredth of the rows, once, and no report

  make bench BENCH="--release 1.2.0"                and keep the ratios as those of a release

The report, benchmarks/report.md, is written when everything was measured; with --only there is just the \
table, unless --write. docs/benchmarks.md explains the figures, and how to add a peer. Do nothing else on \
the machine meanwhile.
"""


def _help() -> str:
    measures = "\n\n".join(f"  [cyan]{name:<9}[/cyan] {meaning}" for name, meaning in suite.MEASURES.items())
    return _HELP.format(measures=measures, minutes=suite.Plan(of_scale(1), list(suite.MEASURES), 3).seconds / 60)


@app.command(help=_help())
def main(
    scale: Annotated[int, typer.Option(min=1, help="Millions of source rows: 100 dates each.")] = 1,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; figures are their medians.")] = 3,
    only: Annotated[str, typer.Option(metavar="MEASURES", help="Some measures only, with commas between.")] = "",
    write: Annotated[
        bool, typer.Option("--write", help="Write the report's section although --only left something out.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rows, one round, no report: to see that it runs.")
    ] = False,
    release: Annotated[
        str, typer.Option(metavar="VERSION", help=f"Add the ratios to {releases.NAME} as those of this release.")
    ] = "",
    directory: Annotated[
        Path | None, typer.Option(help="Where to work; default: the system's directory for temporary files.")
    ] = None,
) -> None:
    """Measure, show the table, and write the report."""
    chosen = {name.strip() for name in only.split(",")} if only else set(suite.MEASURES)
    if unknown := chosen - set(suite.MEASURES):
        raise typer.BadParameter(
            f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(suite.MEASURES)}"
        )
    if quick and (write or release):
        raise typer.BadParameter("the figures of --quick say nothing; leave out --write and --release")
    size, samples, bars = QUICK if quick else of_scale(scale), Samples(), Bars(console)
    plan = suite.Plan(size, chosen, 1 if quick else repeat)
    console.print(f"About {counted(max(1, round(plan.seconds / 60)), 'minute')} on two cores.")
    for label in suite.left_out(plan):
        console.print(f"Left out: {label}")
    started = time.monotonic()
    try:
        with (
            TemporaryDirectory(prefix="engarde-benchmark-", dir=directory, ignore_cleanup_errors=True) as path,
            bars.showing(plan.seconds),
            opened(Path(path), size, bars) as world,
        ):
            suite.run(world, samples, plan)
            about = machine(world.versions())
    finally:  # what was measured before an interruption is worth seeing
        rows = rows_of(samples, size)
        console.print(_table([row for row in rows if row.is_measured]))
    if release:
        releases.write(REPORT.with_name(releases.NAME), release, size.rows, rows)
    if write or release or (chosen == set(suite.MEASURES) and not quick):
        report.write(REPORT, report.Run(scale, _options(), size, about, time.monotonic() - started, rows), samples)
        console.print(f"Written: {REPORT.parent.name}/{REPORT.name}")


def _options() -> str:
    return "".join(f" {argument}" for argument in sys.argv[1:])


def _table(rows: list[Row]) -> Table:
    table = Table(*COLUMNS)
    for row in rows:
        met = {None: "", True: "[green]yes", False: "[red]no"}[row.met]
        table.add_row(*row.cells(met))
    return table


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
