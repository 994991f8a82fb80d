"""No fault makes Postgres wrong: a storm of fixed seed, as `make storm` runs longer ones."""

import pytest

from engarde_pipeline_tests.storm.faults import FAULTS
from engarde_pipeline_tests.storm.scenarios import storm
from engarde_pipeline_tests.world import World


@pytest.mark.long
def test_whatever_faults_a_sync_meets_postgres_is_what_the_oracle_says(world: World) -> None:
    report = storm(world, storm_seed=6, scenarios=210)

    assert report.scenarios >= 210
    assert report.slices > 20
    assert report.faults.keys() == FAULTS.keys()
