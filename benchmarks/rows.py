"""The rows of the report: what was measured, what it is compared with, and the targets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from benchmarks.api import CACHED
from benchmarks.figures import milliseconds, rate, seconds, size_of
from benchmarks.job import PARTS
from benchmarks.job_log import LOOK_UPS
from benchmarks.queries import QUERIES
from benchmarks.samples import Samples
from benchmarks.sizes import Size
from benchmarks.workers import DATES_PER_RUN

STATED_MS_PER_CAMPAIGN = 100
"""What the old design is said to spend on a campaign's totals."""

_NOT_MEASURED = "not measured"

_LARGE = 10_000_000
"""Rows of history at which queries, memory and totals are held to their targets."""


@dataclass(frozen=True)
class Row:
    """One line of the report. `met` is None where there is no target, or nothing was measured."""

    measure: str
    figure: str
    reference: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    rounds: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether there is a figure."""
        return self.figure != _NOT_MEASURED


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


_OLD_TOTALS = Target(1000)


def rows_of(samples: Samples, size: Size) -> list[Row]:
    """Return every row, measured or not."""
    parts = (_loads(samples), _proofs(samples, size), _job(samples, size), _workers(samples, size))
    return [*chain(*parts, _job_log(samples, size)), *_history(samples, size)]


def _compare(
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

    With `is_cost`, where less is better, how many times less it is; a growth stays a growth.
    """
    ours, theirs = samples.median(name), samples.median(reference_name)
    growth = target is not None and target.at_most
    ratio = None
    if ours and theirs:
        ratio = theirs / ours if is_cost and not growth else ours / theirs
    return Row(
        measure,
        _NOT_MEASURED if ours is None else show(ours),
        reference if theirs is None else f"{reference}: {show(theirs)}",
        "" if ratio is None else f"{ratio:,.2f} x" if ratio < 10 else f"{ratio:,.0f} x",
        str(target) if target else "",
        target.is_met(ratio) if target and ratio is not None else None,
        samples.spread(name),
    )


def _loads(samples: Samples) -> Iterator[Row]:
    compare = partial(_compare, samples)
    single, first, nothing, tenth = (f"merge.{name}.rate" for name in ("single", "first", "nothing", "tenth"))
    limit, limit_of_two = "limit: COPY BINARY, one connection", "limit: COPY BINARY, two connections"
    dlt = "dlt, the same indexes"
    yield compare("first load over one connection", single, limit, "limit.single.rate", Target(0.9))
    yield compare("first load", first, limit, "limit.single.rate", Target(0.9))
    yield compare("first load", first, limit_of_two, "limit.double.rate")
    yield compare("first load", first, "old design", "old.first.rate", Target(100))
    yield compare("first load", first, dlt, "dlt.indexed.first.rate", Target(1.5))
    yield compare("first load", first, "dlt as it comes, no index", "dlt.plain.first.rate")
    yield compare("the limit itself, one connection", "limit.single.rate", dlt, "dlt.indexed.first.rate")
    yield compare("the limit itself, two connections", "limit.double.rate", dlt, "dlt.indexed.first.rate")
    yield compare("the limit without foreign keys", "limit.free.rate", dlt, "dlt.indexed.first.rate")
    yield compare("nothing changed", nothing, "old design", "old.nothing.rate", Target(500))
    yield compare("nothing changed", nothing, dlt, "dlt.indexed.nothing.rate", Target(8))
    yield compare("nothing changed", nothing, "dlt as it comes, no index", "dlt.plain.nothing.rate")
    yield compare("10 % changed", tenth, "old design", "old.nothing.rate")


def _proofs(samples: Samples, size: Size) -> Iterator[Row]:
    written = samples.median("merge.nothing.written")
    yield Row(
        "nothing changed: rows written",
        _NOT_MEASURED if written is None else f"{written:,.0f} of {size.rows:,}",
        target="none",
        met=None if written is None else written == 0,
        rounds=samples.spread("merge.nothing.written"),
    )
    for label, name in (("nothing changed: WAL", "nothing"), ("10 % changed: WAL", "tenth")):
        row = f"merge.{name}.wal"
        yield _compare(samples, label, row, "first load", "merge.first.wal", show=size_of, is_cost=True)
    tenth = samples.median("merge.tenth.written")
    yield Row("10 % changed: rows written", _NOT_MEASURED if tenth is None else f"{tenth:,.0f} of {size.rows:,}")


def _job(samples: Samples, size: Size) -> Iterator[Row]:
    whole = samples.median("job.seconds")
    per_second = f"{rate(size.rows / whole)}" if whole else ""
    figure = _NOT_MEASURED if whole is None else f"{seconds(whole)} ({per_second})"
    yield Row("whole job, BigQuery to Postgres", figure, rounds=samples.spread("job.seconds"))
    names = dict(zip(PARTS, ("process start, imports", *PARTS[1:]), strict=True)) | {"dagster": "Dagster's own"}
    for part, name in names.items():
        took = samples.median(f"job.{part}")
        share = f"{seconds(took)} ({100 * took / whole:.0f} %)" if took is not None and whole else _NOT_MEASURED
        yield Row(f"whole job: {name}", share, rounds=samples.spread(f"job.{part}"))
    for label, part in (("peak memory", "memory"), ("database on disk", "disk")):
        value = samples.median(f"job.{part}")
        yield Row(f"whole job: {label}", _NOT_MEASURED if value is None else size_of(value))
    for dates in (1, size.small_dates):
        label = "one small date, click to materialized" if dates == 1 else f"{dates} small dates in one run"
        ours, empty = f"small.pipeline.{dates}", f"small.empty.{dates}"
        yield _compare(samples, label, ours, "empty asset", empty, show=seconds)
        if dates == 1:
            spawned = f"small.spawned.{dates}"
            yield _compare(samples, label, ours, "a process per step", spawned, show=seconds, is_cost=True)


def _workers(samples: Samples, size: Size) -> Iterator[Row]:
    compare = partial(_compare, samples, show=seconds, is_cost=True)
    yield compare("one small date, a warm worker", "workers.date", "a process for it", "workers.process")
    year = f"backfill of {size.small_dates} small dates in runs of {DATES_PER_RUN}"
    yield compare(f"{year}, one worker", "workers.year.1", "", "")
    yield compare(f"{year}, two workers", "workers.year.2", "one worker", "workers.year.1")


def _job_log(samples: Samples, size: Size) -> Iterator[Row]:
    for name in LOOK_UPS:
        took = samples.median(f"job_log.{name}")
        yield Row(
            f"job log: {name}, {size.job_log_runs:,} runs",
            _NOT_MEASURED if took is None else milliseconds(took),
            rounds=samples.spread(f"job_log.{name}"),
        )


def _history(samples: Samples, size: Size) -> Iterator[Row]:
    for dates in size.histories:
        history = size.campaigns * dates
        yield from _totals(samples, size, dates, _at(history))
        for name in QUERIES:
            yield _query(samples, name, dates, history)
            yield _api(samples, size, name, dates, history)
            if name == CACHED:
                yield _api_again(samples, size, name, dates, history)
        yield _compare(samples, f"peak memory, {_at(history)}", f"memory.{dates}", "", "", show=size_of)
    base, largest = size.histories[0], size.histories[-1]
    if largest > base:
        growths = (
            ("memory", "peak memory, growth", size_of, Target(1.2, at_most=True)),
            ("totals.one", "totals after one changed date, growth", seconds, Target(1.5, at_most=True)),
        )
        reference = _at(size.campaigns * base)
        for name, label, show, target in growths:
            yield _compare(samples, label, f"{name}.{largest}", reference, f"{name}.{base}", target, show, True)


def _totals(samples: Samples, size: Size, dates: int, at: str) -> Iterator[Row]:
    every, one = f"totals.all.{dates}", f"totals.one.{dates}"
    label, label_of_one = f"totals of {size.campaigns:,} campaigns, {at}", f"totals after one changed date, {at}"
    compare = partial(_compare, samples, show=seconds, is_cost=True)
    stated = STATED_MS_PER_CAMPAIGN * size.campaigns / 1000
    for name, measure in ((every, label), (one, label_of_one)):
        yield _beside_old_totals(samples, measure, name, f"as stated, {STATED_MS_PER_CAMPAIGN} ms each", stated)
    if measured := samples.median(f"old.totals.ms.{dates}"):
        seconds_of_old = measured * size.campaigns / 1000
        each = f"as measured, {milliseconds(measured)} each"
        yield _beside_old_totals(samples, label, every, each, seconds_of_old, target=None)
    yield compare(label, every, "limit: one bare sum of the rows", f"totals.bare.{dates}")
    yield compare(label_of_one, one, "all campaigns", every)


def _beside_old_totals(
    samples: Samples, measure: str, name: str, each: str, old: float, target: Target | None = _OLD_TOTALS
) -> Row:
    took = samples.median(name)
    return Row(
        measure,
        _NOT_MEASURED if took is None else seconds(took),
        f"old design {each}: {seconds(old)}",
        "" if took is None else f"{old / took:,.0f} x",
        str(target) if target else "",
        target.is_met(old / took) if target and took is not None else None,
        samples.spread(name),
    )


def _query(samples: Samples, name: str, dates: int, history: int) -> Row:
    p50, p99 = (samples.median(f"query.{name}.{p}.{dates}") for p in ("p50", "p99"))
    is_held = history >= _LARGE
    return Row(
        f"query: {name}, {_at(history)}",
        _NOT_MEASURED if p50 is None or p99 is None else f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}",
        target="p99 < 50 ms" if is_held else "",
        met=p99 < 50 if is_held and p99 is not None else None,
    )


def _api(samples: Samples, size: Size, name: str, dates: int, history: int) -> Row:
    label = f"API, {size.api_clients} clients: {name}, {_at(history)}"
    return _api_row(samples, label, f"api.{name}.{dates}", "bare SQL", f"api.sql.{name}.{dates}", history)


def _api_again(samples: Samples, size: Size, name: str, dates: int, history: int) -> Row:
    label = f"API, {size.api_clients} clients: {name}, asked again, {_at(history)}"
    return _api_row(samples, label, f"api.again.{dates}", "for the first time", f"api.{name}.{dates}", history)


def _api_row(samples: Samples, label: str, ours: str, reference: str, theirs: str, history: int) -> Row:
    p50, p99, other = (samples.median(key) for key in (f"{ours}.p50", f"{ours}.p99", f"{theirs}.p99"))
    is_held = history >= _LARGE
    return Row(
        label,
        _NOT_MEASURED if p50 is None or p99 is None else f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}",
        "" if other is None else f"{reference}: p99 {milliseconds(other)}",
        "" if other is None or p99 is None else f"{p99 / other:.2f} x",
        target="p99 < 100 ms" if is_held else "",
        met=p99 < 100 if is_held and p99 is not None else None,
        rounds=samples.spread(f"{ours}.p99"),
    )


def _at(history: int) -> str:
    return f"{history / 1_000_000:g} million rows" if history >= 100_000 else f"{history:,} rows"
