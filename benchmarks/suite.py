"""What runs when: rounds in which every measure takes its turn, so that noise falls on all alike."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from benchmarks import (
    copy_limit,
    emulated,
    history,
    imports,
    job,
    job_log,
    merge,
    old_design,
    peer_loads,
    sensors,
    workers,
)
from benchmarks.peers import PEERS
from benchmarks.samples import Samples
from benchmarks.sizes import BASE_DATES, Size
from benchmarks.world import World

ROUNDS: dict[str, Callable[[World, Samples], None]] = {
    "merge": merge.measure,
    "limit": copy_limit.measure,
    "old": old_design.measure,
    "peers": peer_loads.measure,
    "imports": imports.measure,
}
MEASURES = {
    "merge": "first load, nothing changed and 10 % changed, rows per second",
    "limit": "COPY BINARY of the finished rows into the same table",
    "old": "the design that this one replaces: an ORM, a SELECT per row",
    "peers": "dlt, ADBC, pgpq, DuckDB and Sling on the same rows: 0, 1, 10 and 100 % changed",
    "imports": "CPU seconds of importing the definitions",
    "job": "the whole job from BigQuery's emulator to Postgres; one and 366 small dates",
    "workers": "the same on warm workers (needs redis-server)",
    "sensors": "CPU of the sensors' ticks when nothing changed",
    "job_log": "look-ups of jobs among 100,000 runs",
    "totals": "the totals on the campaigns: all, and after one changed date",
    "queries": "the API's queries as plain SQL",
    "memory": "peak memory of a sync of the whole history",
    "api": "the API under 20 clients, beside the bare SQL",
}
"""What can be measured, and a line on it."""

_SECONDS = {
    "merge": 60,
    "limit": 40,
    "old": 10,
    "peers": 150,
    "imports": 6,
    "job": 100,
    "workers": 55,
    "sensors": 15,
    "job_log": 15,
    "totals": 8,
    "queries": 5,
    "memory": 0,
    "api": 16,
}
"""About how long one round takes with a million rows on two cores. Only the time that is left rests on it."""

_OF_FIXED_SIZE = {"old", "peers", "imports", "sensors", "job_log", "queries", "api"}
"""Measures that take no longer with more rows."""

_LOADING_HISTORY = 25
_STARTING_EMULATOR = 20


@dataclass(frozen=True)
class Plan:
    """What is measured, how often, and on what."""

    size: Size
    chosen: Collection[str]
    repeat: int

    def rounds(self, measure: str) -> int:
        """Return how often `measure` runs on its own."""
        if measure in ("job", "workers") and self.size.dates > BASE_DATES:
            return 1  # ten million rows are to arrive at all; how fast, a million say
        return 1 if measure in ("sensors", "job_log", "queries") else self.repeat  # those have rounds of their own

    def seconds_of(self, measure: str, dates: int) -> float:
        """Return about how long all rounds of `measure` take on `dates` dates."""
        share = 1 if measure in _OF_FIXED_SIZE else dates / BASE_DATES
        return _SECONDS[measure] * share * self.rounds(measure)

    @property
    def seconds(self) -> float:
        """About how long everything takes on two cores."""
        total = 0.0
        for measure in self.chosen:
            dates = self.size.histories if measure in history.MEASURES else [self.size.dates]
            total += sum(self.seconds_of(measure, count) for count in dates)
        if self.has("job", "workers", "sensors"):
            total += _STARTING_EMULATOR
        if self.has(*history.MEASURES):
            total += sum(_LOADING_HISTORY * dates / BASE_DATES for dates in self.size.histories)
        return total

    def has(self, *measures: str) -> bool:
        """Whether one of `measures` was chosen."""
        return not set(self.chosen).isdisjoint(measures)


def run(world: World, samples: Samples, plan: Plan) -> None:
    """Measure what was chosen."""

    def done(measure: str) -> None:
        world.bars.done(plan.seconds_of(measure, world.size.dates) / plan.rounds(measure))

    if plan.has("imports"):
        imports.warm_up(world)
    for _ in range(plan.repeat):
        for name, measure in ROUNDS.items():
            if plan.has(name):
                measure(world, samples)
                done(name)
    if plan.has("job", "workers", "sensors"):
        _jobs(world, samples, plan, done)
    if plan.has("job_log"):
        job_log.measure(world, samples, plan.repeat)
        done("job_log")
    chosen = [name for name in history.MEASURES if plan.has(name)]
    for dates in world.size.histories if chosen else ():
        history.measure(world, samples, dates, chosen, plan.repeat)
        seconds = sum(plan.seconds_of(name, dates) for name in chosen)
        world.bars.done(_LOADING_HISTORY * dates / BASE_DATES + seconds)


def _jobs(world: World, samples: Samples, plan: Plan, done: Callable[[str], None]) -> None:
    with emulated.emulator(world) as emulator:
        job.warm_up(world, emulator)
        world.bars.done(_STARTING_EMULATOR)
        for turn in range(plan.rounds("job")):
            if plan.has("job"):
                job.measure(world, samples, emulator)
                done("job")
            if plan.has("workers"):
                workers.measure(world, samples, emulator, turn)
                done("workers")
        if plan.has("sensors"):
            sensors.measure(world, samples, emulator, plan.repeat)
            done("sensors")


def left_out(plan: Plan) -> list[str]:
    """Return what cannot be measured here, with the cure."""
    peers = PEERS if plan.has("peers") else ()
    missing = [f"{peer.label}; install {' and '.join(peer.packages)}" for peer in peers if not peer.is_installed()]
    if plan.has("workers") and workers.redis_server() is None:
        missing.append("workers; install redis-server")
    return missing
