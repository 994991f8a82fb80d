"""`python -m benchmarks`: measure, show the table, write the report."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import report, suite
from benchmarks.machine import machine
from benchmarks.progress import Bars
from benchmarks.rows import Row, rows_of
from benchmarks.samples import Samples
from benchmarks.sizes import of_scale
from benchmarks.world import opened

REPORT = Path(__file__).with_name("report.md")

app = typer.Typer(add_completion=False)
console = Console()


@app.command()
def main(
    scale: Annotated[int, typer.Option(min=1, help="Millions of source rows: 100 dates each.")] = 1,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; figures are their medians.")] = 3,
    only: Annotated[
        str, typer.Option(help=f"Some measures only, with commas between: {', '.join(suite.MEASURES)}.")
    ] = "",
    write: Annotated[
        bool, typer.Option("--write", help="Write the report's section although --only left something out.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Where to work; default: the system's directory for temporary files.")
    ] = None,
) -> None:
    """Measure the pipeline beside the limit, the old design and a peer, in one run.

    The report is written when everything was measured; with --only there is just the table, unless --write.
    Ten million rows (--scale 10) take some 20 GB of disk, and hours unless --only names a few measures.
    """
    chosen = {name.strip() for name in only.split(",")} if only else set(suite.MEASURES)
    if unknown := chosen - set(suite.MEASURES):
        raise typer.BadParameter(
            f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(suite.MEASURES)}"
        )
    size, samples, bars = of_scale(scale), Samples(), Bars(console)
    started = time.monotonic()
    try:
        with (
            TemporaryDirectory(prefix="engarde-benchmark-", dir=directory, ignore_cleanup_errors=True) as path,
            bars.showing(suite.parts(size, chosen, repeat)),
            opened(Path(path), size, bars) as world,
        ):
            suite.run(world, samples, chosen, repeat)
            about = machine(world.versions())
    finally:  # what was measured before an interruption is worth seeing
        rows = rows_of(samples, size)
        console.print(_table([row for row in rows if row.is_measured]))
    if write or chosen == set(suite.MEASURES):
        report.write(REPORT, report.Run(scale, _options(), size, about, time.monotonic() - started, rows), samples)
        console.print(f"Written: {REPORT.parent.name}/{REPORT.name}")


def _options() -> str:
    return "".join(f" {argument}" for argument in sys.argv[1:])


def _table(rows: list[Row]) -> Table:
    table = Table("measure", "figure", "reference", "ratio", "target", "met", "rounds")
    for row in rows:
        met = {None: "", True: "[green]yes", False: "[red]no"}[row.met]
        table.add_row(row.measure, row.figure, row.reference, row.ratio, row.target, met, row.rounds)
    return table


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
