"""`make storm`: a storm of faults, then one of kills, each on servers of its own; says what was checked."""

import argparse
import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster import DagsterInstance
from rich.console import Console
from rich.table import Table

from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests import servers
from engarde_pipeline_tests.storm.faults import FAULTS
from engarde_pipeline_tests.storm.kills import storm_of_kills
from engarde_pipeline_tests.storm.platform import running_platform
from engarde_pipeline_tests.storm.scenarios import Report, storm
from engarde_pipeline_tests.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="default: a random one")
    parser.add_argument("--scenarios", type=int, default=300, help="how many; default: %(default)s")
    parser.add_argument("--kills", type=int, default=20, help="how many processes to kill; default: %(default)s")
    given = parser.parse_args()
    console = Console()
    console.print(f"Storm of {given.scenarios} scenarios and {given.kills} kills; again: SEED={given.seed}")
    if given.scenarios:
        _faults(console, given.seed, given.scenarios)
    if given.kills:
        _kills(console, given.seed, given.kills)


def _faults(console: Console, seed: int, scenarios: int) -> None:
    with (
        TemporaryDirectory(prefix="storm-") as directory,
        servers.embedded_server(Path(directory, "postgres")) as url,
        servers.emulator(Path(directory, "bigquery")) as emulator,
    ):
        migrate.upgrade(url)
        world = World(url, emulator)
        report = storm(world, seed, scenarios)
        world.close()
    console.print(_table(report))
    console.print(
        f"{report.scenarios} scenarios, {report.slices} with a slice, {report.rows_checked:,} rows checked:"
        " no failure."
    )


def _kills(console: Console, seed: int, rounds: int) -> None:
    with TemporaryDirectory(prefix="storm-") as directory, running_platform(Path(directory)) as platform:
        os.environ.update(platform.environment)
        with DagsterInstance.get() as instance:
            report = storm_of_kills(platform, instance, seed, rounds)
    table = Table("killed", "times")
    for what, times in report.kills.items():
        table.add_row(what, str(times))
    console.print(table)
    console.print(
        f"{report.changes} changes in BigQuery; calm after {report.seconds_to_calm:.0f} s,"
        f" the hourly schedule brought forward {report.hours_brought_forward} times;"
        f" {report.rows_checked} rows, and what Dagster says of their dates, checked: no failure."
    )


def _table(report: Report) -> Table:
    table = Table("fault", "syncs", "syncs or dates stopped")
    for kind in FAULTS:
        table.add_row(kind, str(report.faults[kind]), str(report.stopped[kind]))
    return table


if __name__ == "__main__":
    main()
