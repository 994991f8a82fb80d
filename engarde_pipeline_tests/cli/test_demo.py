"""`engarde demo`, as a newcomer runs it: twice, in a directory of its own, with nothing set."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import engarde_pipeline
from engarde_pipeline.local import bigquery, postgres


def _started(home: Path) -> subprocess.Popen[str]:
    # A width of 200, so that no message breaks within a path.
    environment = {**os.environ, "ENGARDE_HOME": str(home), "COLUMNS": "200"}
    environment.pop("ENGARDE_FIRST_DATE", None)
    return subprocess.Popen(
        [sys.executable, "-m", "engarde_pipeline.cli", "demo"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(engarde_pipeline.__file__).parents[1],
    )


def _demo(home: Path) -> str:
    return _output_of(home, "demo")


def _output_of(home: Path, command: str) -> str:
    environment = {**os.environ, "ENGARDE_HOME": str(home), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "engarde_pipeline.cli", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(engarde_pipeline.__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def _dates_that_are_not_over() -> int:
    # Yesterday is not over everywhere until noon in UTC, twelve hours after it is over there.
    return 2 if datetime.now(UTC).hour < 12 else 1


@pytest.mark.long
def test_the_demo_shows_the_job_at_work_and_its_second_run_that_nothing_changed() -> None:
    with TemporaryDirectory(prefix="engarde-demo-") as directory:
        Path(directory).chmod(0o755)
        home = Path(directory) / "home"

        first = _demo(home)
        assert "90 dates of sample data were loaded" in first
        assert "The campaigns with the highest spend" in first
        assert "campaign_not_mapped" in first
        assert "…" not in first, "an amount is cut off"
        assert "make dev" in first
        assert "link to the pages" in first
        assert "Nothing changed" not in first

        # Each of these starts the servers again, and stops them.
        partial = _dates_that_are_not_over()
        assert f"campaign_metrics: {partial} partial, {30 - partial} provisional." in _output_of(home, "status")
        assert "Nothing is due" in _output_of(home, "plan")
        assert "completed" in _output_of(home, "jobs")

        assert "Nothing changed" in _demo(home)


@pytest.mark.long
def test_a_demo_whose_emulator_is_killed_names_it_and_its_log() -> None:
    with TemporaryDirectory(prefix="engarde-demo-") as directory:
        Path(directory).chmod(0o755)
        home = Path(directory) / "home"
        with _started(home) as demo:
            assert demo.stdout is not None
            said = ""
            while "Syncing" not in said:
                said = demo.stdout.readline()
                assert said, "the demo has ended"
            emulator = bigquery.find(home)
            assert emulator is not None
            os.kill(emulator.pid, signal.SIGKILL)
            rest, _ = demo.communicate(timeout=60)

        assert demo.returncode == 1
        assert f"The BigQuery emulator (process {emulator.pid}) has ended" in " ".join(rest.split())
        assert "Traceback" not in rest
        assert not postgres.is_running(home)
