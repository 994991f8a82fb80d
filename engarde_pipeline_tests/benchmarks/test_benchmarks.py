"""The benchmark runs and reports what it should; how fast anything is, no test says."""

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import large_table, report, suite
from benchmarks.__main__ import app
from benchmarks.machine import machine
from benchmarks.progress import Bars
from benchmarks.rows import Row, rows_of
from benchmarks.samples import Samples
from benchmarks.sizes import Size
from benchmarks.world import opened

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("benchmarks")]

TINY = Size(
    tenants=2,
    campaigns=50,
    dates=2,
    base_dates=1,
    old_rows=60,
    old_totals=3,
    peer_rows=50,
    small_dates=2,
    queries=2,
    job_log_runs=200,
    api_clients=2,
    api_requests=3,
)

# What starts processes with Dagster or a BigQuery emulator, or dlt, takes longer than a test should.
CHEAP = {"limit", "merge", "old", "totals", "queries", "memory", "job_log", "api"}
SLOW = ("whole job", "small date", "worker")


@pytest.fixture(scope="module")
def measured() -> tuple[Samples, list[Row]]:
    samples, bars = Samples(), Bars(Console(quiet=True))
    # Not under pytest's own directory: Postgres' system user could not reach it.
    with (
        TemporaryDirectory(prefix="engarde-benchmark-") as directory,
        opened(Path(directory), TINY, bars) as world,
    ):
        suite.run(world, samples, CHEAP, repeat=2)
    return samples, rows_of(samples, TINY)


def test_every_cheap_row_is_measured(measured: tuple[Samples, list[Row]]) -> None:
    _, rows = measured
    missing = {row.measure for row in rows if not row.is_measured}
    assert {measure for measure in missing if not any(name in measure for name in SLOW)} == set()


def test_a_sync_in_which_nothing_changed_writes_no_row(measured: tuple[Samples, list[Row]]) -> None:
    samples, _ = measured
    assert samples.median("merge.first.written") == TINY.rows
    assert samples.median("merge.nothing.written") == 0
    assert samples.median("merge.tenth.written") == TINY.rows / 10


def test_the_report_holds_every_measured_row_and_a_section_for_each_scale(
    measured: tuple[Samples, list[Row]], tmp_path: Path
) -> None:
    samples, rows = measured
    path = tmp_path / "report.md"
    for scale in (10, 1, 10):
        report.write(path, report.Run(scale, f" --scale {scale}", TINY, machine("18"), 60.0, rows), samples)
    text = path.read_text()
    assert [text.count(f"<!-- scale {scale} -->") for scale in (1, 10)] == [1, 1]
    for row in filter(lambda row: row.is_measured, rows):
        assert text.count(f"| {row.measure} | {row.figure} |") >= 2
    assert all((tmp_path / f"report-{scale}m.svg").exists() for scale in (1, 10))


def test_an_unknown_measure_is_named_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["--only", "merge,speed"])
    assert result.exit_code == 2
    assert "speed" in result.output
    assert "limit" in result.output


@pytest.mark.parametrize(
    ("variant", "measures"), [("as it is", large_table.MEASURES), ("partitions", {"merge", "retention"})]
)
def test_the_large_table_is_filled_and_measured(
    variant: str, measures: Collection[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with TemporaryDirectory(prefix="engarde-benchmark-") as directory:
        large_table.measure(Path(directory), variant, 50_000, measures, 1)

    said = capsys.readouterr().out
    assert "merge of a date of 50 rows, 10 % changed" in said
    assert "removing the oldest month" in said
    assert ("query: tenant, 365 dates, by campaign" in said) == ("queries" in measures)
