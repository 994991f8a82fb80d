"""The benchmark runs and reports what it should; how fast anything is, no test says."""

from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from dagster import DagsterEventType, DagsterInstance
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import data, large_table, peer_loads, releases, report, same_events, suite
from benchmarks.__main__ import app
from benchmarks.machine import machine
from benchmarks.peers import compare
from benchmarks.peers.adbc import Adbc
from benchmarks.peers.duckdb import DuckDb
from benchmarks.peers.pgpq import Pgpq
from benchmarks.portfolio import Portfolio
from benchmarks.progress import Bars
from benchmarks.row import Row
from benchmarks.rows import rows_of
from benchmarks.samples import Samples
from benchmarks.sizes import Size
from benchmarks.world import World, opened
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from engarde_pipeline.defs.checks import totals_checks
from engarde_pipeline.defs.date_checks import date_checks
from engarde_pipeline.postgres.connection import connect

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("benchmarks")]

TINY = Size(
    tenants=2,
    campaigns=50,
    dates=2,
    base_dates=1,
    old_rows=60,
    old_totals=3,
    peer_dates=2,
    small_dates=2,
    queries=2,
    job_log_runs=200,
    api_clients=2,
    api_requests=3,
)

# What starts processes with Dagster or a BigQuery emulator, dlt, or Sling, takes longer than a test should.
CHEAP = {"limit", "merge", "old", "totals", "queries", "memory", "job_log", "api"}
LIGHT_PEERS = (Adbc, Pgpq, DuckDb)
SLOW = ("whole job", "small date", "worker", "importing", "CPU of a tick")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Not under pytest's own directory: Postgres' system user could not reach it.
    with (
        TemporaryDirectory(prefix="engarde-benchmark-") as directory,
        opened(Path(directory), TINY, Bars(Console(quiet=True))) as world,
    ):
        yield world


@pytest.fixture(scope="module")
def measured(world: World) -> tuple[Samples, list[Row]]:
    samples = Samples()
    suite.run(world, samples, suite.Plan(TINY, CHEAP, repeat=2))
    peer_loads.measure(world, samples, LIGHT_PEERS)
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


def test_the_reference_with_the_same_events_records_as_many_as_the_pipeline() -> None:
    assert list(same_events.CHECKS.values()) == [len(date_checks(table)) for table in METRIC_TABLES]
    assert len(list(totals_checks.check_keys)) == same_events.TOTALS_CHECKS
    with DagsterInstance.ephemeral() as instance:
        run = same_events.defs.resolve_job_def(same_events.JOB).execute_in_process(
            instance=instance,
            tags={ASSET_PARTITION_RANGE_START_TAG: "2026-02-01", ASSET_PARTITION_RANGE_END_TAG: "2026-02-03"},
        )
        recorded = {
            event_type: len(instance.all_logs(run.run_id, of_type=event_type))
            for event_type in (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION)
        }
    assert list(recorded.values()) == [2 * 3 + 1, (6 + 4) * 3 + 2]


def test_every_peer_has_a_figure_for_each_load(measured: tuple[Samples, list[Row]]) -> None:
    samples, _ = measured
    programs = [peer_loads.OURS, peer_loads.OURS_OVER_ONE, *(peer.name for peer in LIGHT_PEERS)]
    measures = {f"peers.{name}.{load}" for name in programs for load in peer_loads.LOADS}
    assert measures <= samples.as_dict().keys()


def test_a_peers_table_has_our_indexes_and_foreign_keys(world: World) -> None:
    with world.database() as url:
        Adbc(url, world.directory).prepare(peer_loads.source(world, 0))
        with connect(url) as connection:
            indexes, keys = (
                connection.execute(
                    f"SELECT count(*) FILTER (WHERE {name} = 'public.campaign_metrics'::regclass),"
                    f" count(*) FILTER (WHERE {name} = 'peer.campaign_metrics'::regclass) FROM {catalog}".encode()
                ).fetchone()
                for catalog, name in (
                    ("pg_index", "indrelid"),
                    ("(SELECT * FROM pg_constraint WHERE contype = 'f') k", "conrelid"),
                )
            )
    assert indexes is not None
    assert indexes[0] == indexes[1] > 0
    assert keys is not None
    assert keys[0] == keys[1] > 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE {table} SET spend = spend + 0.000001 WHERE ctid = '(0,1)'", "spend is wrong in"),
        ("DELETE FROM {table} WHERE ctid = '(0,1)'", "left 99 rows; the source has 100"),
    ],
)
def test_a_peer_that_leaves_other_rows_than_the_source_has_is_found(
    world: World, damage: str, message: str
) -> None:
    rows, table = peer_loads.source(world, 0), "peer.campaign_metrics"
    with world.database() as url:
        peer = Adbc(url, world.directory)
        peer.prepare(rows)
        peer.load(rows)
        compare.check(url, table, rows, peer.label)
        with connect(url) as connection:
            connection.execute(damage.format(table=table).encode())
        with pytest.raises(compare.WrongRows, match=message):
            compare.check(url, table, rows, peer.label)


def test_each_percentage_restates_that_share_of_what_was_loaded_before() -> None:
    portfolio = Portfolio(tenants=2, campaigns=1_000)
    days = range(3)
    before = [data.source_rows(portfolio, day) for day in days]
    for percent in data.PERCENTS:
        after = [data.source_rows(portfolio, day, percent) for day in days]
        assert sum(map(_differing, before, after)) == 10 * percent * len(days)
        assert sum(data.changed_rows(portfolio, day, percent) for day in days) == 10 * percent * len(days)
        before = after


def _differing(before: pa.RecordBatch, after: pa.RecordBatch) -> int:
    return sum(one != other for one, other in zip(before.to_pylist(), after.to_pylist(), strict=True))


def test_the_report_holds_every_measured_row_and_a_section_for_each_scale(
    measured: tuple[Samples, list[Row]], tmp_path: Path
) -> None:
    samples, rows = measured
    path = tmp_path / "report.md"
    for scale in (10, 1, 10):
        report.write(path, report.Run(scale, f" --scale {scale}", TINY, machine("18"), 60.0, rows), samples)
    text = path.read_text()
    assert [text.count(f"<!-- scale {scale} -->") for scale in (1, 10)] == [1, 1]
    for row in (row for row in rows if row.is_measured and not row.is_in_table_of_peers):
        assert text.count(f"| {row.measure} | {row.figure} |") >= 2
    for peer in LIGHT_PEERS:
        assert text.count(f"| {peer.label} (") == 2
    assert all((tmp_path / f"report-{scale}m.svg").exists() for scale in (1, 10))


def test_the_ratios_of_a_release_are_kept_and_measured_again_they_are_replaced(
    measured: tuple[Samples, list[Row]], tmp_path: Path
) -> None:
    samples, rows = measured
    history = tmp_path / releases.NAME
    for release in ("1.0.0", "1.1.0", "1.1.0"):
        releases.write(history, release, TINY.rows, rows)
    ratios = releases.read(history)
    assert [ratio.release for ratio in ratios].count("1.0.0") == len(ratios) / 2
    assert {ratio.measure for ratio in ratios} == {row.measure for row in rows if row.ratio is not None}

    report.write(tmp_path / "report.md", report.Run(1, "", TINY, machine("18"), 60.0, rows), samples)
    text = (tmp_path / "report.md").read_text()
    assert "| source rows | measure | reference | target | 1.0.0 | 1.1.0 |" in text
    assert (
        f"| {TINY.rows:,} | first load over one connection | limit: COPY BINARY, one connection | ≥ 0.85 |" in text
    )


def test_an_unknown_measure_is_named_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["--only", "merge,speed"])
    assert result.exit_code == 2
    assert "speed" in result.output
    assert "limit" in result.output


def test_the_help_explains_every_measure() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for name, meaning in suite.MEASURES.items():
        assert f"{name:<9} {meaning}" in result.output


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
