"""What runs when: rounds in which every measure takes its turn, so that noise falls on all alike."""

from collections.abc import Callable, Collection

from benchmarks import copy_limit, dlt_merge, emulated, history, job, job_log, merge, old_design, workers
from benchmarks.samples import Samples
from benchmarks.sizes import BASE_DATES, Size
from benchmarks.world import World

LOADS: dict[str, Callable[[World, Samples], None]] = {
    "merge": merge.measure,
    "limit": copy_limit.measure,
    "old": old_design.measure,
    "dlt": dlt_merge.measure,
}
MEASURES = (*LOADS, "job", "workers", "job_log", *history.MEASURES)


def parts(size: Size, chosen: Collection[str], repeat: int) -> int:
    """Return how many parts a run has, for its progress bar."""
    rounds = repeat * len(LOADS.keys() & chosen) + ("job_log" in chosen)
    rounds += _job_rounds(size, repeat) * len({"job", "workers"} & set(chosen))
    return rounds + (len(size.histories) if set(history.MEASURES) & set(chosen) else 0)


def run(world: World, samples: Samples, chosen: Collection[str], repeat: int) -> None:
    """Measure what was chosen, `repeat` times."""
    for _ in range(repeat):
        for name, measure in LOADS.items():
            if name in chosen:
                measure(world, samples)
                world.bars.done()
    if {"job", "workers"} & set(chosen):
        with emulated.emulator(world) as emulator:
            job.warm_up(world, emulator)
            for turn in range(_job_rounds(world.size, repeat)):
                if "job" in chosen:
                    job.measure(world, samples, emulator)
                    world.bars.done()
                if "workers" in chosen:
                    workers.measure(world, samples, emulator, turn)
                    world.bars.done()
    if "job_log" in chosen:
        job_log.measure(world, samples, repeat)
        world.bars.done()
    if set(history.MEASURES) & set(chosen):
        for dates in world.size.histories:
            history.measure(world, samples, dates, chosen, repeat)
            world.bars.done()


def _job_rounds(size: Size, repeat: int) -> int:
    # Ten million rows are to arrive at all; how fast, a million say.
    return repeat if size.dates <= BASE_DATES else 1
