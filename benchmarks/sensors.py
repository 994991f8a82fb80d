"""(l) The sensors' ticks when nothing changed: seconds of CPU of the process that evaluates them.

The last 30 dates are synced before, so that the sensors find what they find most of the time: a window of dates
that are as they were. What the emulator and Postgres use is not counted.
"""

from benchmarks import children, data, emulated, job
from benchmarks.samples import Samples
from benchmarks.world import World

NAMES = ("changed_partitions", "new_mappings", "pending_totals", "lost_runs", "alerts")


def measure(world: World, samples: Samples, emulator: dict[str, str], repeat: int) -> None:
    """Sync the recent dates, then measure each sensor's ticks in `repeat` fresh processes."""
    with world.database() as url:
        environment = job.environment(world, emulator, url, emulated.RECENT)
        days = data.recent_days(world.size.recent_dates)
        with world.bars.part("syncing the recent dates"):
            children.run(world.directory, "benchmarks.job_process", ["pipeline", days[0], days[-1]], environment)
        for _ in range(repeat):
            with world.bars.part("ticks of the sensors"):
                answer = children.run(world.directory, "benchmarks.sensors_process", NAMES, environment)
            for name in NAMES:
                samples.add(f"sensors.{name}", 1000 * answer[name])
