"""The rows of the report: what was measured, what it is compared with, and the targets."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from benchmarks import sensors
from benchmarks.api import CACHED
from benchmarks.figures import milliseconds, rate, seconds, size_of
from benchmarks.job import PARTS
from benchmarks.job_log import LOOK_UPS
from benchmarks.peer_loads import FIRST, LIMIT, LOADS, OURS, OURS_OVER_ONE
from benchmarks.peers import PEERS
from benchmarks.queries import QUERIES
from benchmarks.row import NOT_MEASURED, Row, Target, compare, held
from benchmarks.samples import Samples
from benchmarks.sizes import Size
from benchmarks.workers import DATES_PER_RUN

STATED_MS_PER_CAMPAIGN = 100
"""What the old design is said to spend on a campaign's totals."""

_PEER_TARGETS = {("dlt", FIRST): Target(1.5), ("dlt", "0"): Target(8)}
"""What the ratio of the pipeline's rows per second to a peer's is held to, by peer and load."""

_STEPS_OF_LOAD = {"stage": "staging", "prepare": "preparing the records", "merge": "merging"}

_LARGE = 10_000_000
"""Rows of history at which queries, memory and totals are held to their targets."""


_OLD_TOTALS = Target(1000)
_CHECKS = Target(0.1, at_most=True)
_TICK = Target(100, at_most=True)
_WARM_START = Target(1.5, at_most=True)


def rows_of(samples: Samples, size: Size) -> list[Row]:
    """Return every row, measured or not."""
    sized = (_proofs, _peers, _job, _workers, _job_log, _history)
    parts = chain.from_iterable(part(samples, size) for part in sized)
    return [*_loads(samples), *parts, *_imports(samples), *_sensors(samples)]


def _loads(samples: Samples) -> Iterator[Row]:
    beside = partial(compare, samples)
    single, first, nothing, tenth = (f"merge.{name}.rate" for name in ("single", "first", "nothing", "tenth"))
    limit, limit_of_two = "limit: COPY BINARY, one connection", "limit: COPY BINARY, two connections"
    yield beside("first load over one connection", single, limit, "limit.single.rate", Target(0.85))
    for step, name in _STEPS_OF_LOAD.items():
        label = f"first load over one connection: only {name}"
        yield beside(label, f"merge.single.{step}.rate", limit, "limit.single.rate")
    insert = "limit: INSERT of finished rows, a transaction per date"
    yield beside(
        "first load over one connection: only merging", "merge.single.merge.rate", insert, "limit.insert.rate"
    )
    yield beside("first load", first, limit, "limit.single.rate", Target(0.85))
    yield beside("first load", first, limit_of_two, "limit.double.rate")
    yield beside("first load", first, "limit without foreign keys, one connection", "limit.free.rate")
    yield beside("first load", first, "old design", "old.first.rate", Target(100))
    yield beside("nothing changed", nothing, "old design", "old.nothing.rate", Target(500))
    yield held(samples, "nothing changed", nothing, Target(400_000), rate)
    for step, name in _STEPS_OF_LOAD.items():
        yield beside(f"nothing changed: only {name}, for each connection", f"merge.nothing.{step}.rate", "", "")
    yield beside("10 % changed", tenth, "old design", "old.nothing.rate")


def _peers(samples: Samples, size: Size) -> Iterator[Row]:
    for load in LOADS:
        measure = f"{_described(load)}, {size.peer_rows:,} rows"
        if load == FIRST:
            limit = "limit: COPY BINARY, one connection"
            yield compare(
                samples, f"{measure}, one connection", _peer(OURS_OVER_ONE, load), limit, _peer(LIMIT, load)
            )
        for peer in PEERS:
            target = _PEER_TARGETS.get((peer.name, load))
            if samples.median(_peer(peer.name, load)) is not None or target:
                row = compare(samples, measure, _peer(OURS, load), peer.label, _peer(peer.name, load), target)
                yield replace(row, is_in_table_of_peers=target is None)


def _peer(name: str, load: str) -> str:
    return f"peers.{name}.{load}"


def _described(load: str) -> str:
    return "first load" if load == FIRST else "nothing changed" if load == "0" else f"{load} % changed"


def _imports(samples: Samples) -> Iterator[Row]:
    beside = partial(compare, samples, "CPU of importing the definitions", "imports.definitions", show=seconds)
    yield beside("import dagster", "imports.dagster")
    yield beside("the libraries that a run needs", "imports.libraries")


def _proofs(samples: Samples, size: Size) -> Iterator[Row]:
    written = samples.median("merge.nothing.written")
    yield Row(
        "nothing changed: rows written",
        NOT_MEASURED if written is None else f"{written:,.0f} of {size.rows:,}",
        target="none",
        met=None if written is None else written == 0,
        rounds=samples.spread("merge.nothing.written"),
    )
    for label, name in (("nothing changed: WAL", "nothing"), ("10 % changed: WAL", "tenth")):
        row = f"merge.{name}.wal"
        yield compare(samples, label, row, "first load", "merge.first.wal", show=size_of, is_cost=True)
    tenth = samples.median("merge.tenth.written")
    yield Row("10 % changed: rows written", NOT_MEASURED if tenth is None else f"{tenth:,.0f} of {size.rows:,}")


def _job(samples: Samples, size: Size) -> Iterator[Row]:
    whole = samples.median("job.seconds")
    per_second = f"{rate(size.rows / whole)}" if whole else ""
    figure = NOT_MEASURED if whole is None else f"{seconds(whole)} ({per_second})"
    yield Row("whole job, BigQuery to Postgres", figure, rounds=samples.spread("job.seconds"))
    names = dict(zip(PARTS, ("process start, imports", *PARTS[1:]), strict=True)) | {"dagster": "Dagster's own"}
    for part, name in names.items():
        yield _share(samples, f"whole job: {name}", part, _CHECKS if part == "checks" else None)
        if part == "checks":
            yield _share(samples, "whole job: checks, without waiting for the emulator", "own_checks", _CHECKS)
    for label, part in (("peak memory", "memory"), ("database on disk", "disk")):
        value = samples.median(f"job.{part}")
        yield Row(f"whole job: {label}", NOT_MEASURED if value is None else size_of(value))
    for dates in (1, size.small_dates):
        label = "one small date, click to materialized" if dates == 1 else f"{dates} small dates in one run"
        ours, empty = f"small.pipeline.{dates}", f"small.empty.{dates}"
        target = Target(1.5 if dates == 1 else 1.3, at_most=True)
        yield compare(samples, label, ours, "empty asset", empty, target, seconds)
        without = f"{label}, without waiting for the emulator"
        yield compare(samples, without, f"small.own.{dates}", "empty asset", empty, target, seconds)
        events = f"small.events.{dates}"
        yield compare(samples, label, ours, "the same events", events, show=seconds)
        yield compare(samples, without, f"small.own.{dates}", "the same events", events, show=seconds)
        if dates == 1:
            loaded, same_imports = f"small.loaded.{dates}", "empty asset, with the same imports"
            yield compare(samples, label, ours, same_imports, loaded, show=seconds)
            yield compare(samples, without, f"small.own.{dates}", same_imports, loaded, show=seconds)
            spawned = f"small.spawned.{dates}"
            yield compare(samples, label, ours, "a process per step", spawned, show=seconds, is_cost=True)


def _sensors(samples: Samples) -> Iterator[Row]:
    for name in sensors.NAMES:
        label = f"CPU of a tick of {name}, nothing changed"
        yield held(samples, label, f"sensors.{name}", _TICK, milliseconds)


def _share(samples: Samples, label: str, part: str, target: Target | None) -> Row:
    took, whole = samples.median(f"job.{part}"), samples.median("job.seconds")
    if took is None or not whole:
        return Row(label, NOT_MEASURED)
    return Row(
        label,
        f"{seconds(took)} ({100 * took / whole:.0f} %)",
        "the whole job" if target else "",
        ratio=took / whole if target else None,
        target=str(target) if target else "",
        met=target.is_met(took / whole) if target else None,
        rounds=samples.spread(f"job.{part}"),
    )


def _workers(samples: Samples, size: Size) -> Iterator[Row]:
    beside = partial(compare, samples, show=seconds, is_cost=True)
    yield beside("one small date, a warm worker", "workers.date", "a process for it", "workers.process")
    yield held(samples, "one small date, a warm worker", "workers.date", _WARM_START, seconds)
    without = "one small date, a warm worker, without waiting for the emulator"
    yield held(samples, without, "workers.own", _WARM_START, seconds)
    year = f"backfill of {size.small_dates} small dates in runs of {DATES_PER_RUN}"
    yield beside(f"{year}, one worker", "workers.year.1", "", "")
    yield beside(f"{year}, two workers", "workers.year.2", "one worker", "workers.year.1")


def _job_log(samples: Samples, size: Size) -> Iterator[Row]:
    for name in LOOK_UPS:
        took = samples.median(f"job_log.{name}")
        yield Row(
            f"job log: {name}, {size.job_log_runs:,} runs",
            NOT_MEASURED if took is None else milliseconds(took),
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
        yield _refused(samples, size, dates, history)
        yield compare(samples, f"peak memory, {_at(history)}", f"memory.{dates}", "", "", show=size_of)
    base, largest = size.histories[0], size.histories[-1]
    if largest > base:
        growths = (
            ("memory", "peak memory, growth", size_of, Target(1.2, at_most=True)),
            ("totals.one", "totals after one changed date, growth", seconds, Target(1.2, at_most=True)),
        )
        reference = _at(size.campaigns * base)
        for name, label, show, target in growths:
            yield compare(samples, label, f"{name}.{largest}", reference, f"{name}.{base}", target, show, True)


def _totals(samples: Samples, size: Size, dates: int, at: str) -> Iterator[Row]:
    every, one = f"totals.all.{dates}", f"totals.one.{dates}"
    label, label_of_one = f"totals of {size.campaigns:,} campaigns, {at}", f"totals after one changed date, {at}"
    beside = partial(compare, samples, show=seconds, is_cost=True)
    stated = STATED_MS_PER_CAMPAIGN * size.campaigns / 1000
    for name, measure in ((every, label), (one, label_of_one)):
        yield _beside_old_totals(samples, measure, name, f"as stated, {STATED_MS_PER_CAMPAIGN} ms each", stated)
    if measured := samples.median(f"old.totals.ms.{dates}"):
        seconds_of_old = measured * size.campaigns / 1000
        yield _beside_old_totals(samples, label, every, "as measured on a few", seconds_of_old, target=None)
    bare, target = f"totals.bare.{dates}", Target(1.5, at_most=True)
    yield beside(label, every, "one bare sum of the rows", bare, target)
    yield compare(
        samples, label, every, "one bare sum, written to the campaigns", f"totals.written.{dates}", show=seconds
    )
    yield compare(samples, label, every, "sums by month, written", f"totals.months.{dates}", show=seconds)
    yield beside(label_of_one, one, "all campaigns", every)


def _beside_old_totals(
    samples: Samples, measure: str, name: str, each: str, old: float, target: Target | None = _OLD_TOTALS
) -> Row:
    took = samples.median(name)
    return Row(
        measure,
        NOT_MEASURED if took is None else seconds(took),
        f"old design {each}",
        seconds(old),
        None if took is None else old / took,
        str(target) if target else "",
        target.is_met(old / took) if target and took is not None else None,
        samples.spread(name),
    )


def _query(samples: Samples, name: str, dates: int, history: int) -> Row:
    p50, p99 = (samples.median(f"query.{name}.{p}.{dates}") for p in ("p50", "p99"))
    is_held = history >= _LARGE
    return Row(
        f"query: {name}, {_at(history)}",
        NOT_MEASURED if p50 is None or p99 is None else f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}",
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
        NOT_MEASURED if p50 is None or p99 is None else f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}",
        reference,
        "" if other is None else f"p99 {milliseconds(other)}",
        None if other is None or p99 is None else p99 / other,
        target="p99 < 100 ms" if is_held else "",
        met=p99 < 100 if is_held and p99 is not None else None,
        rounds=samples.spread(f"{ours}.p99"),
    )


def _refused(samples: Samples, size: Size, dates: int, history: int) -> Row:
    refused, asked = samples.total(f"api.refused.{dates}"), samples.total(f"api.requests.{dates}")
    return Row(
        f"API, {size.api_clients} clients: requests refused (503), {_at(history)}",
        NOT_MEASURED if refused is None or asked is None else f"{refused:,.0f} of {asked:,.0f}",
        target="none",
        met=None if refused is None else refused == 0,
    )


def _at(history: int) -> str:
    return f"{history / 1_000_000:g} million rows" if history >= 100_000 else f"{history:,} rows"
