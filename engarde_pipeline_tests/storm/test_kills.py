"""Whatever is killed, and whenever: a storm of fixed seed, as `make storm` runs longer ones."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dagster import DagsterInstance

from engarde_pipeline_tests.defs.backfills import ask_for_backfill
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.storm.kills import DATES, check, storm_of_kills, wait_until_calm
from engarde_pipeline_tests.storm.platform import Platform, running_platform

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("kills")]

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN PERFORM pg_sleep(1); RETURN NULL; END$$;
CREATE TRIGGER slow BEFORE INSERT ON campaign_metrics FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
"""Makes each date take a while, as on a large table."""


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    # Not under pytest's own directory: any other pytest that starts locks the server's user out of that.
    with TemporaryDirectory(prefix="engarde-kills-") as directory, running_platform(Path(directory)) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_after_a_storm_of_kills_postgres_is_bigquery_and_dagster_tells_the_truth(platform: Platform) -> None:
    with DagsterInstance.get() as instance:
        report = storm_of_kills(platform, instance, seed=6, rounds=10)

    assert report.kills.total() >= 5
    assert report.rows_checked == 24


def test_dagsters_postgres_is_killed_during_a_backfill(platform: Platform) -> None:
    world = platform.world
    Shop(world).load(*DATES)
    for table in ("campaign_metrics", "asset_metrics"):
        platform.times.touch(table, *DATES)
    world.connection.execute(SLOW.encode())
    with DagsterInstance.get() as instance:
        ask_for_backfill(instance, DATES)
        eventually(lambda: len({row["metric_date"] for row in world.rows()}) >= 3, "the first dates", 120)

        platform.kill_the_history()
        platform.mend()

        wait_until_calm(platform, instance)
        assert check(platform, instance) == 24
