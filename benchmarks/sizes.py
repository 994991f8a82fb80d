"""How much of everything a run measures."""

from dataclasses import dataclass, replace

BASE_DATES = 100


@dataclass(frozen=True)
class Size:
    """The data, and the samples that stand for what is too slow to measure whole."""

    tenants: int = 50
    campaigns: int = 10_000
    dates: int = BASE_DATES
    base_dates: int = BASE_DATES
    """The shorter history that memory and totals are compared with."""
    old_rows: int = 3_000
    """Rows the old design loads: at 1,000 rows/s the whole data would take it a quarter of an hour."""
    old_totals: int = 100
    """Campaigns whose totals the old design computes."""
    peer_dates: int = 20
    """Dates that are loaded beside peers, by the pipeline as well: a whole million would take each minutes."""
    small_dates: int = 366
    recent_dates: int = 30
    """Dates up to today that are synced when the sensors' ticks are measured."""
    small_campaigns: int = 20
    """Campaigns with numbers on a small or recent date."""
    queries: int = 200
    """Times each of the API's queries runs."""
    api_clients: int = 20
    """Clients that ask the API at the same time, each again as soon as it is answered."""
    api_requests: int = 50
    """Times each client asks."""
    job_log_runs: int = 100_000
    """Runs in Dagster's history when the job log is looked up."""

    @property
    def rows(self) -> int:
        """Source rows: one per campaign and date."""
        return self.campaigns * self.dates

    @property
    def peer_rows(self) -> int:
        """Source rows that are loaded beside peers."""
        return self.campaigns * self.peer_dates

    @property
    def histories(self) -> list[int]:
        """Numbers of dates of history that totals, queries and memory are measured with."""
        return sorted({self.base_dates, self.dates})


def of_scale(scale: int) -> Size:
    """Return the size with `scale` million source rows: more dates, the same campaigns."""
    return replace(Size(), dates=BASE_DATES * scale)


QUICK = Size(
    tenants=5,
    campaigns=1_000,
    dates=10,
    base_dates=10,
    old_rows=200,
    old_totals=10,
    peer_dates=5,
    small_dates=7,
    queries=10,
    api_clients=5,
    api_requests=10,
    job_log_runs=2_000,
)
"""Just enough to see that everything can be measured."""
