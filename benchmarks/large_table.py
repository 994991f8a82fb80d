"""`python -m benchmarks.large_table`: one table of up to 100 million rows, and what is done with it every day.

The table is filled by SQL. The queries are those of the API, and changes are made by our merge. Everything is
measured on the server's own settings; `--variant` measures another index, fill factor or partitions by month.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Annotated, Any, cast
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import psycopg
import pyarrow as pa
import typer
from rich.console import Console

from benchmarks import data
from benchmarks.filled_table import DATES, VARIANTS, fill, portfolio_of
from benchmarks.merge import WrongResult
from benchmarks.prepared import PreparedSource
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import GroupBy, MetricsQuery, by_date, groups
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline.sync.dates import FailedDate, sync_dates

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=160)

WINDOW = 30
"""Dates that ad platforms restate, every day."""

_SIZES = """
SELECT CASE WHEN c.relkind IN ('i', 'I') THEN regexp_replace(pg_get_indexdef(c.oid), '.* USING ', '')
            ELSE 'rows' END,
       pg_relation_size(c.oid) + coalesce((
           SELECT sum(pg_relation_size(relid))
           FROM pg_partition_tree(c.oid) WHERE isleaf AND level > 0), 0) AS size
FROM pg_class c
WHERE c.oid = 'campaign_metrics'::regclass
   OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'campaign_metrics'::regclass)
ORDER BY size DESC
"""

_DATE = """
SELECT m.metric_date, m.tenant_id::text AS tenant_id, c.external_campaign_id AS campaign_id, m.platform,
       m.impressions + (100 * row_number() OVER (ORDER BY hashtext(m.id::text || %(turn)s))
                        <= %(percent)s * count(*) OVER ())::int AS impressions,
       m.clicks, m.spend::float8 AS spend, m.conversions::bigint AS conversions, m.revenue::float8 AS revenue
FROM campaign_metrics m
JOIN campaign_spaces c ON c.id = m.campaign_space_id
WHERE m.metric_date = %(day)s
"""


@dataclass(frozen=True)
class Bench:
    """The filled table: its server, and how often each thing is measured."""

    url: str
    rows: int
    server: psutil.Process
    repeat: int

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """Yield a list that then has the seconds that the block took, and the CPU seconds of server and client."""
        time.sleep(1)  # the server counts the CPU seconds of a connection once its process has ended
        figures: list[float] = []
        cpu, started = self._cpu(), time.perf_counter()
        yield figures
        figures += [time.perf_counter() - started, self._cpu() - cpu]

    def _cpu(self) -> float:
        client = time.process_time()
        server = self.server.cpu_times()
        total = client + sum(server[:4])  # those of its children that have ended, too
        for child in self.server.children():
            with suppress(psutil.NoSuchProcess):  # it has just ended, as workers of autovacuum do
                total += sum(child.cpu_times()[:2])
        return float(total)


def _sizes(bench: Bench) -> None:
    with connect(bench.url) as connection:
        found = connection.execute(_SIZES).fetchall()
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
    for name, size in [*found, ("all tables of the database", row[0])]:
        _say(f"size of {name}", f"{size / 1024**3:.2f} GB, {size / bench.rows:.0f} bytes per row")


def _queries(bench: Bench) -> None:
    portfolio = portfolio_of(bench.rows)
    end = data.days(DATES)[-1]

    def grouped(by: GroupBy, dates: int) -> Callable[[int], Any]:
        def statement(number: int) -> Any:
            tenant = portfolio.tenant_of(7_919 * number % portfolio.campaigns)
            return groups(MetricsQuery(tenant, end - timedelta(days=dates - 1), end), by, Page(limit=10_000))

        return statement

    def campaign(number: int) -> Any:
        chosen = 7_919 * number % portfolio.campaigns
        ids = [portfolio.campaign_space_ids[chosen]]
        return by_date(MetricsQuery(portfolio.tenant_of(chosen), end - timedelta(days=89), end, ids))

    queries = {
        "tenant, 30 dates, by date": grouped("date", 30),
        "tenant, 30 dates, by platform": grouped("platform", 30),
        "tenant, 30 dates, by campaign": grouped("campaign", 30),
        "tenant, 365 dates, by campaign": grouped("campaign", 365),
        "campaign, 90 dates": campaign,
    }
    with connect(bench.url) as connection:
        for name, statement in queries.items():
            first: list[float] = []
            again: list[float] = []
            for number in range(20):
                text, values = statement(number)
                connection.execute("SELECT set_config('engarde.tenant_id', %s, false)", [str(values["tenant_id"])])
                for took in (first, again):
                    started = time.perf_counter()
                    connection.execute(text, values).fetchall()
                    took.append(1000 * (time.perf_counter() - started))
            _say(
                f"query: {name}",
                f"first {median(first):.1f} ms (slowest {max(first):.0f}), again {median(again):.1f} ms",
            )


class _OneDate(PreparedSource):
    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def _batches(self, start: date, end: date) -> Iterator[pa.RecordBatch]:
        assert start == end, "one date at a time"
        yield self._batch


def _restated(connection: psycopg.Connection, day: date, percent: int, turn: int) -> pa.RecordBatch:
    """Return the date's rows as BigQuery would have them, `percent` of them with one more impression."""
    rows = connection.execute(_DATE, {"day": day, "percent": percent, "turn": str(turn)}).fetchall()
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, data.SCHEMA, strict=True)],
        schema=data.SCHEMA,
    )


def _sync(bench: Bench, day: date, batch: pa.RecordBatch) -> tuple[Counts, list[float]]:
    source = cast("Source", _OneDate(batch))
    with connect(bench.url) as connection, bench.measured() as figures:
        (outcome,) = sync_dates(CAMPAIGN_METRICS, [day], source, connection, LoadOptions(uuid4(), 0.5, 2))
    if isinstance(outcome, FailedDate):
        raise WrongResult(f"{day}: {outcome.error}") from outcome.error
    return outcome.merged.counts, figures


def _merge(bench: Bench) -> None:
    last = data.days(DATES)[-1]
    campaigns = portfolio_of(bench.rows).campaigns
    for name, percent in (("nothing changed", 0), ("10 % changed", 10), ("100 % changed", 100)):
        took = []
        for turn in range(bench.repeat):
            day = last - timedelta(days=turn)
            with connect(bench.url) as connection:
                batch = _restated(connection, day, percent, turn)
                connection.execute("CHECKPOINT")
            counts, figures = _sync(bench, day, batch)
            if counts.inserted or counts.deleted or bool(counts.updated) != bool(percent):
                raise WrongResult(f"{name}: {counts}")
            took.append(figures)
        _say(f"merge of a date of {campaigns:,} rows, {name}", _timing(took))
    took = []
    for turn in range(bench.repeat):
        day = last + timedelta(days=1 + turn)
        batch = data.source_rows(portfolio_of(bench.rows), (day - data.FIRST_DATE).days)
        with connect(bench.url) as connection:
            connection.execute("DELETE FROM campaign_metrics WHERE metric_date = %s", [day])
            connection.execute("CHECKPOINT")
        counts, figures = _sync(bench, day, batch)
        if counts.inserted != campaigns:
            raise WrongResult(f"a new date: {counts}")
        took.append(figures)
    _say(f"merge of a date of {campaigns:,} rows, new", _timing(took))


def _restate(bench: Bench) -> None:
    """Restate the last dates, 10 % of each, in as many rounds as days pass until a date is final."""
    days = data.days(DATES)[-WINDOW:]
    took: list[list[float]] = []
    with connect(bench.url) as connection:
        connection.execute("SELECT pg_stat_reset()")
        for turn in range(bench.repeat):
            took += [_sync(bench, day, _restated(connection, day, 10, 100 + turn))[1] for day in days]
            connection.execute("VACUUM campaign_metrics")  # as autovacuum does
        row = connection.execute(
            "SELECT sum(n_tup_hot_upd), sum(n_tup_upd) FROM pg_stat_user_tables"
            " WHERE relname ~ '^campaign_metrics'"
        ).fetchone()
        assert row is not None
    hot, updated = row
    _say(f"{WINDOW} dates, 10 % changed, {bench.repeat} times: per date", _timing(took))
    _say("updates that no index had to follow (HOT)", f"{100 * hot / max(1, updated):.0f} %")


def _totals(bench: Bench) -> None:
    took = []
    for turn in range(bench.repeat):
        day = data.days(DATES)[-1 - turn]
        with connect(bench.url) as connection:
            update_totals(connection)
            _sync(bench, day, _restated(connection, day, 10, 200 + turn))
            with bench.measured() as figures:
                update_totals(connection)
        took.append(figures)
    _say("totals after one changed date", _timing(took))


def _vacuum(bench: Bench) -> None:
    for name, statement in (("vacuum", "VACUUM campaign_metrics"), ("analyze", "ANALYZE campaign_metrics")):
        with connect(bench.url) as connection, bench.measured() as figures:
            connection.execute(statement.encode())
        _say(name, _timing([figures]))


def _retention(bench: Bench) -> None:
    """Remove the oldest month: its rows, or its partition."""
    with connect(bench.url) as connection:
        is_partitioned = connection.execute(
            "SELECT relkind = 'p' FROM pg_class WHERE oid = 'campaign_metrics'::regclass"
        ).fetchone() == (True,)
        (month,) = connection.execute(
            "SELECT date_trunc('month', min(metric_date))::date FROM platform_days"
        ).fetchone() or (None,)
        assert month is not None
        following = month + timedelta(days=31)
        with bench.measured() as figures:
            if is_partitioned:
                connection.execute(f"DROP TABLE campaign_metrics_{month:%Y_%m}".encode())
            else:
                connection.execute(
                    "DELETE FROM campaign_metrics WHERE metric_date < %s", [following.replace(day=1)]
                )
        _say("removing the oldest month", _timing([figures]))
        with bench.measured() as figures:
            connection.execute("VACUUM campaign_metrics")
        _say("vacuum after it", _timing([figures]))


MEASURES: dict[str, Callable[[Bench], None]] = {
    "sizes": _sizes,
    "queries": _queries,
    "merge": _merge,
    "totals": _totals,
    "restate": _restate,
    "vacuum": _vacuum,
    "retention": _retention,
}


@app.command()
def main(
    rows: Annotated[
        int, typer.Option(min=1, help="Millions of rows: 1,000 dates of as many thousand campaigns.")
    ] = 10,
    variant: Annotated[
        str, typer.Option(help=f"What differs from the schema: {', '.join(VARIANTS)}.")
    ] = "as it is",
    only: Annotated[
        str, typer.Option(help=f"Some measures only, with commas between: {', '.join(MEASURES)}.")
    ] = "",
    repeat: Annotated[int, typer.Option(min=1, help="How often each is measured; figures are medians.")] = 3,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the table stays, to measure it again; default: it is deleted at the end."),
    ] = None,
) -> None:
    """Fill the table, unless the directory has it, and measure.

    100 million rows take some 40 GB of disk while they are filled.
    """
    chosen = {name.strip() for name in only.split(",")} if only else set(MEASURES)
    if unknown := chosen - set(MEASURES):
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    if variant not in VARIANTS:
        raise typer.BadParameter(f"there is no variant {variant}; there are: {', '.join(VARIANTS)}")
    home = directory or Path(mkdtemp(prefix="engarde-benchmark-"))
    try:
        measure(home, variant, rows * 1_000_000, chosen, repeat)
    finally:
        if directory is None:
            shutil.rmtree(home, ignore_errors=True)


def measure(home: Path, variant: str, rows: int, chosen: Collection[str], repeat: int) -> None:
    """Fill the table in `home`, unless it is there, and take the chosen measures."""
    started = time.monotonic()

    def step(name: str) -> None:
        console.print(f"{time.monotonic() - started:7.0f} s  {name}")

    try:
        url = fill(home, variant, rows, step)
        running = postgres.server(home)
        assert running is not None
        _say("table", f"{rows:,} rows, {variant}")
        bench = Bench(url, rows, psutil.Process(running.pid), repeat)
        for name, each in MEASURES.items():
            if name in chosen:
                each(bench)
    finally:
        postgres.stop(home)


def _timing(took: list[list[float]]) -> str:
    seconds, cpu = (median(column) for column in zip(*took, strict=True))
    return f"{seconds:.2f} s, {cpu:.2f} s of CPU (median of {len(took)}, {min(took)[0]:.2f} to {max(took)[0]:.2f})"


def _say(what: str, figure: str) -> None:
    console.print(f"{what:<70} {figure}", soft_wrap=True)


if __name__ == "__main__":
    app()
