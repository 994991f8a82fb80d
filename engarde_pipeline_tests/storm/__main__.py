"""`make storm`: run a storm on servers of its own and say what was checked."""

import argparse
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from engarde_pipeline.postgres import migrate
from engarde_pipeline_tests import servers
from engarde_pipeline_tests.storm.faults import FAULTS
from engarde_pipeline_tests.storm.scenarios import Report, storm
from engarde_pipeline_tests.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="default: a random one")
    parser.add_argument("--scenarios", type=int, default=300, help="how many; default: %(default)s")
    given = parser.parse_args()
    console = Console()
    console.print(f"Storm of {given.scenarios} scenarios; again with: --seed {given.seed}")
    with (
        TemporaryDirectory(prefix="storm-") as directory,
        servers.embedded_server(Path(directory, "postgres")) as url,
        servers.emulator(Path(directory, "bigquery")) as emulator,
    ):
        migrate.upgrade(url)
        world = World(url, emulator)
        report = storm(world, given.seed, given.scenarios)
        world.close()
    console.print(_table(report))
    console.print(
        f"{report.scenarios} scenarios, {report.slices} with a slice, {report.rows_checked:,} rows checked:"
        " no failure."
    )


def _table(report: Report) -> Table:
    table = Table("fault", "syncs", "syncs or dates stopped")
    for kind in FAULTS:
        table.add_row(kind, str(report.faults[kind]), str(report.stopped[kind]))
    return table


if __name__ == "__main__":
    main()
