"""A day in fast motion: BigQuery keeps changing under the daemon, faults are made, and backfills cross it all.

How long the changes took to arrive is logged: `--log-cli-level=INFO` shows it.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from threading import Event, Thread

import pytest
from dagster import DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus
from psycopg.rows import tuple_row

from engarde_pipeline.core.dates import today
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline_tests.bigquery.faulty import HANGS_UP, Answer, Request, refusal
from engarde_pipeline_tests.dagster_runs import materializations, unfinished
from engarde_pipeline_tests.defs.backfills import ask_for_backfill, backfill_status, has_ended
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World, campaigns_in_bigquery, campaigns_in_postgres

_LOG = logging.getLogger(__name__)

DATES = [today() - timedelta(days=n) for n in reversed(range(10))]
RESTATED, LEFT_ALONE = DATES[1::2], DATES[::2]
CHANGES = 16
RANDOM_BACKFILLS = 20

_WATCH = """
CREATE TABLE written (tx xid8, metric_date date, at timestamptz);
CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO written
    VALUES (pg_current_xact_id(), coalesce(NEW.metric_date, OLD.metric_date), clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON campaign_metrics
    FOR EACH ROW EXECUTE FUNCTION written();
CREATE CONSTRAINT TRIGGER committed AFTER INSERT OR UPDATE OR DELETE ON campaign_metrics
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION written();
"""

_AT_ONCE = """
WITH spans AS (SELECT tx, metric_date, min(at) AS first, max(at) AS last FROM written GROUP BY tx, metric_date)
SELECT * FROM spans AS one JOIN spans AS other USING (metric_date)
WHERE one.tx < other.tx AND one.first <= other.last AND other.first <= one.last
"""


class Day:
    """What BigQuery says of each date from now on, and how long Postgres took to say the same."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._open: dict[date, tuple[int, float]] = {}
        self.changes: Counter[date] = Counter()
        self.delays: list[float] = []

    def changed(self, day: date, clicks: int) -> None:
        self.changes[day] += 1
        self._open[day] = clicks, time.monotonic()

    @property
    def has_arrived(self) -> bool:
        return not self._open

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every half second, until the block ends, which changes have arrived."""
        over = Event()
        watcher = Thread(target=self._watch, args=(over,))
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: Event) -> None:
        with connect(self._database_url) as connection, connection.cursor(row_factory=tuple_row) as cursor:
            while not over.wait(0.5):
                cursor.execute("SELECT metric_date, sum(clicks) FROM campaign_metrics GROUP BY metric_date")
                for day, clicks in cursor.fetchall():
                    wanted = self._open.get(day)
                    if wanted and wanted[0] == clicks:
                        self.delays.append(time.monotonic() - wanted[1])
                        # Unless it was changed again in between.
                        if self._open[day] == wanted:
                            del self._open[day]


def _slow(request: Request) -> Answer | None:
    time.sleep(2)
    return None


FAULTS: list[Answer | Callable[[Request], Answer | None]] = [
    refusal(500, "backendError", "Error encountered during execution. Retrying may solve the problem."),
    refusal(503, "backendError", "The service is currently unavailable."),
    refusal(403, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user per method."),
    HANGS_UP,
    _slow,
]


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_after_a_day_of_changes_faults_and_backfills_postgres_is_bigquery(
    shop: Shop,
    times: Times,
    instance: DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Read by queries, so that the faults meet the reading of the metrics, too.
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    world, chance = shop.world, random.Random(4)  # noqa: S311  chance, not a secret
    world.connection.execute(_WATCH)
    shop.load(*DATES)
    for table in ("campaign_metrics", "asset_metrics"):
        times.touch(table, *DATES)
    day = Day(world.database_url)
    with running_daemon(tmp_path / "daemon.log"), day.watched():
        eventually(lambda: len(world.rows()) == 2 * len(DATES), "the first sync")

        # Two analysts ask for ranges that overlap, at the same moment.
        backfills = [ask_for_backfill(instance, DATES[2:8]), ask_for_backfill(instance, DATES[4:])]
        for number in range(CHANGES):
            _make_a_fault(times, chance)
            for restated in chance.sample(RESTATED, chance.randint(1, 3)):
                _restate(world, restated, clicks=100 + number)
                times.touch("campaign_metrics", restated)
                day.changed(restated, 2 * (100 + number))
            while len(backfills) - 2 < RANDOM_BACKFILLS * (number + 1) // CHANGES:
                first, last = sorted(chance.sample(range(len(DATES)), 2))
                backfills.append(ask_for_backfill(instance, DATES[first : last + 1]))
            time.sleep(chance.uniform(0, 4))
        eventually(lambda: day.has_arrived, "every change")
        eventually(lambda: all(has_ended(instance, each) for each in backfills), "the backfills", 600)
        eventually(lambda: not unfinished(instance), "the runs' ends")

    _LOG.info("%d changes: %.0f s median, %.0f s longest", len(day.delays), median(day.delays), max(day.delays))
    assert {backfill_status(instance, each) for each in backfills} == {BulkActionStatus.COMPLETED_SUCCESS}
    assert campaigns_in_postgres(world) == campaigns_in_bigquery(world)
    (totals,) = world.query("SELECT sum(total_clicks) AS totals FROM campaign_spaces")
    (rows,) = world.query("SELECT sum(clicks) AS totals FROM campaign_metrics")
    assert totals == rows
    assert world.query(_AT_ONCE) == []
    assert world.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory'") == []

    # What nobody asked for was read once for each time it changed, and never else.
    reads = _reads_by_itself(instance, "campaign_metrics")
    assert {each: reads[each] for each in LEFT_ALONE} == dict.fromkeys(LEFT_ALONE, 1)
    assert all(reads[each] <= 1 + day.changes[each] for each in RESTATED)
    assert set(_reads_by_itself(instance, "campaign_asset_metrics").values()) == {1}


def _make_a_fault(times: Times, chance: random.Random) -> None:
    times.proxy.fail(chance.choice(["GET ", "POST "]), chance.choice(FAULTS), times=chance.randint(1, 2))


def _restate(world: World, day: date, clicks: int) -> None:
    # One statement: a load that first empties the date would be refused, and rightly.
    world.execute(
        f"UPDATE {world.dataset}.campaign_metrics SET clicks = {clicks}, spend = {clicks} / 7"
        f" WHERE metric_date = '{day}'"
    )


def _reads_by_itself(instance: DagsterInstance, asset: str) -> Counter[date]:
    """Return how often each date was read by runs that no person asked for."""
    records = [
        record
        for record in materializations(instance, asset)
        if "dagster/backfill" not in _run_tags(instance, record.run_id)
    ]
    return Counter(date.fromisoformat(record.partition_key or "") for record in records)


def _run_tags(instance: DagsterInstance, run_id: str) -> dict[str, str]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)
