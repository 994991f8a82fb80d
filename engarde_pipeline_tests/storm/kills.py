"""A storm of kills: BigQuery changes, people and sensors sync, and processes are killed at random moments."""

import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial

from dagster import AssetKey, DagsterInstance

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connected_runs
from engarde_pipeline.postgres.load.synced_dates import synced_versions
from engarde_pipeline.runs.history import recorded_versions
from engarde_pipeline.runs.planning import current_plan, dates_with_new_mappings, inspect_tables
from engarde_pipeline.settings import load_settings
from engarde_pipeline.sync.plan import PlannedDate
from engarde_pipeline_tests.dagster_runs import unfinished
from engarde_pipeline_tests.defs.backfills import ask_for_backfill
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.storm.platform import Platform
from engarde_pipeline_tests.world import campaigns_in_bigquery, campaigns_in_postgres

DATES = [today() - timedelta(days=n) for n in reversed(range(12))]

_RUN_STARTS_SECONDS = 60

_SENSOR_SECONDS = 150
"""How long the sensors, a retry and its run may take."""

_CALM_SECONDS = 1500
"""A run that vanished together with its code server is ended after ten minutes, and its dates synced again."""


@dataclass
class KillReport:
    """What was killed, how often, and what was checked once things had calmed down."""

    kills: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    rows_checked: int = 0
    seconds_to_calm: float = 0
    hours_brought_forward: int = 0


def storm_of_kills(platform: Platform, instance: DagsterInstance, seed: int, rounds: int) -> KillReport:
    """Change, sync and kill so many times; then wait until nothing is due, and compare everything."""
    chance, report = random.Random(seed), KillReport()  # noqa: S311  chance, not a secret
    shop = Shop(platform.world)
    shop.load(*DATES)
    for table in ("campaign_metrics", "asset_metrics"):
        platform.times.touch(table, *DATES)
    asked: list[subprocess.Popen[bytes]] = []
    for number in range(rounds):
        for day in chance.sample(DATES, chance.randint(1, 4)):
            _restate(platform, day, clicks=100 + number)
            report.changes += 1
        asked += _work(platform, instance, shop, chance)
        time.sleep(chance.uniform(0, 15))
        what = chance.choice(list(platform.kills))
        # Something is due, so a run to kill starts soon; everything else is there already.
        with suppress(AssertionError):
            eventually(partial(platform.kills[what], instance), f"to kill {what}", _RUN_STARTS_SECONDS)
            report.kills[what] += 1
        time.sleep(chance.uniform(0, 3))
        platform.mend()
    for process in asked:
        process.wait(timeout=_CALM_SECONDS)
    started = time.monotonic()
    report.hours_brought_forward = wait_until_calm(platform, instance)
    report.seconds_to_calm = time.monotonic() - started
    report.rows_checked = check(platform, instance)
    return report


def wait_until_calm(platform: Platform, instance: DagsterInstance) -> int:
    """Wait until nothing is due; return how often the hourly schedule was brought forward for that."""
    started, brought_forward = time.monotonic(), 0
    while not _is_calm(platform, instance, _SENSOR_SECONDS):
        assert time.monotonic() - started < _CALM_SECONDS, _due(platform, instance)
        brought_forward += _bring_the_hour_forward(platform, instance)
    return brought_forward


def _restate(platform: Platform, day: date, clicks: int) -> None:
    platform.world.execute(
        f"UPDATE {platform.world.dataset}.campaign_metrics SET clicks = {clicks}, spend = {clicks} / 7"
        f" WHERE metric_date = '{day}'"
    )
    platform.times.touch("campaign_metrics", day)


def _work(
    platform: Platform, instance: DagsterInstance, shop: Shop, chance: random.Random
) -> list[subprocess.Popen[bytes]]:
    """What people ask for meanwhile: nothing, a backfill, a range or a slice on the command line."""
    first, last = sorted(chance.sample(DATES, 2))
    match chance.choice(["nothing", "backfill", "range", "slice"]):
        case "backfill":
            ask_for_backfill(instance, [day for day in DATES if first <= day <= last])
        case "range":
            return [_sync(platform, first, last)]
        case "slice":
            return [_sync(platform, first, last, "--tenant", str(shop.tenant))]
    return []


def _sync(platform: Platform, first: date, last: date, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engarde_pipeline.cli", "sync", "--start", str(first), "--end", str(last)]
    with (platform.home / "syncs.log").open("ab") as log:
        return subprocess.Popen([*command, *options], stdout=log, stderr=log)


def _is_calm(platform: Platform, instance: DagsterInstance, seconds: float) -> bool:
    """Whether, within so many seconds, nothing runs or is due any more, and the totals are summed."""

    def is_calm() -> bool:
        left = platform.world.query("SELECT 1 FROM changed_dates")
        return not (unfinished(instance) or left or _due(platform, instance))

    with suppress(AssertionError):
        eventually(is_calm, "calm", seconds)
        return True
    return False


def _due(platform: Platform, instance: DagsterInstance) -> list[PlannedDate]:
    source, connection = Source(load_settings()), platform.world.connection
    plan = current_plan(instance, source, connection, inspect_tables(source))
    return plan.due + dates_with_new_mappings(connection)


def _bring_the_hour_forward(platform: Platform, instance: DagsterInstance) -> bool:
    """Sync what is due as the hourly schedule would, which alone asks again for what was not retried."""
    if unfinished(instance):
        return False
    for due in _due(platform, instance):
        _sync(platform, due.day, due.day).wait()
    return True


def check(platform: Platform, instance: DagsterInstance) -> int:
    """Compare Postgres with BigQuery and with what Dagster says of it; return how many rows there are."""
    world = platform.world
    found = campaigns_in_postgres(world)
    assert found == campaigns_in_bigquery(world)
    (sums,) = world.query(
        "SELECT (SELECT sum(total_clicks) FROM campaign_spaces) AS totals,"
        " (SELECT sum(clicks) FROM campaign_metrics) AS rows"
    )
    assert sums["totals"] == sums["rows"]
    recorded = recorded_versions(instance, AssetKey(CAMPAIGN_METRICS.target))
    assert recorded == synced_versions(world.connection, CAMPAIGN_METRICS)
    assert not world.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
    assert not connected_runs(world.connection)
    return len(found)
