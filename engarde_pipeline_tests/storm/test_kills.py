"""Whatever is killed, and whenever: a storm of fixed seed, as `make storm` runs longer ones."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dagster import DagsterInstance

from engarde_pipeline_tests.storm.kills import storm_of_kills
from engarde_pipeline_tests.storm.platform import running_platform


@pytest.mark.long
@pytest.mark.xdist_group("kills")
def test_after_a_storm_of_kills_postgres_is_bigquery_and_dagster_tells_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not under pytest's own directory: any other pytest that starts locks the server's user out of that.
    with TemporaryDirectory(prefix="engarde-kills-") as directory, running_platform(Path(directory)) as platform:
        for name, value in platform.environment.items():
            monkeypatch.setenv(name, value)
        with DagsterInstance.get() as instance:
            report = storm_of_kills(platform, instance, seed=6, rounds=10)

    assert report.kills.total() >= 5
    assert report.rows_checked == 24
