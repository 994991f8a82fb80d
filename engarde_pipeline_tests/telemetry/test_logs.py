"""The log in JSON: each line is an event, whoever wrote it."""

import os
import subprocess
import sys
from datetime import date

import pytest

from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.telemetry.lines import parsed

DAY = date(2026, 3, 1)

EVERY_SOURCE = """
import logging, threading, warnings
from dagster._utils.log import configure_loggers  # as each process of Dagster does when it starts
configure_loggers(formatter="colored")
from engarde_pipeline.telemetry import configure_telemetry
from engarde_pipeline.telemetry.logs import log_context
from engarde_pipeline.telemetry.spans import span
configure_telemetry("test")
configure_loggers(formatter="colored")
with log_context(run_id="r1", tenant=None), span("merge", table="campaign_metrics", date="2026-03-01"):
    logging.getLogger("engarde_pipeline.somewhere").info("two\\nlines")
logging.getLogger("dagster.daemon").warning("of the daemon")
for notice in ("Checking for new runs for sensor: alerts", "Sensor alerts skipped: All is well."):
    logging.getLogger("dagster.daemon.SensorDaemon").info(notice)
logging.getLogger("third.party").info("too fine")
logging.getLogger("third.party").warning("of a library")
warnings.warn("of Python")
threading.Thread(target=lambda: 1 / 0).start()
try:
    raise ValueError("postgresql://u:s3cret@db/app")
except ValueError:
    logging.getLogger("engarde_pipeline").exception("caught")
raise RuntimeError("uncaught")
"""

A_RUN = """
import sys
from datetime import date
from dagster import DagsterInstance
from engarde_pipeline_tests.dagster_runs import run_range
with DagsterInstance.get() as instance:
    print(run_range(instance, date(2026, 3, 1), date(2026, 3, 1)).run_id)
"""


def _python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_each_line_is_json_whoever_wrote_it() -> None:
    done = _python(
        EVERY_SOURCE, ENGARDE_LOG_FORMAT="json", BIGQUERY_PROJECT_ID="p", DATABASE_URL="postgresql://h/d"
    )

    assert done.returncode == 1
    assert done.stdout == ""
    events = {event["message"]: event for event in parsed(done.stderr)}
    assert "s3cret" not in done.stderr
    own, merge = events.pop("two\nlines"), events.pop("merge")
    assert (own["run_id"], own["level"]) == ("r1", "info")
    assert "tenant" not in own
    assert (merge["run_id"], merge["table"], merge["date"]) == ("r1", "campaign_metrics", "2026-03-01")
    assert merge["duration_seconds"] >= 0
    assert events.pop("of the daemon")["logger"] == "dagster.daemon"
    assert events.pop("of a library")["logger"] == "third.party"
    assert "ValueError: postgresql://u:***@db/app" in events.pop("caught")["exception"]
    assert (
        "ZeroDivisionError"
        in events.pop("The process ends with an unexpected error: division by zero")["exception"]
    )
    assert "RuntimeError" in events.pop("The process ends with an unexpected error: uncaught")["exception"]
    (warning,) = events
    assert "UserWarning: of Python" in warning


@pytest.mark.long
def test_a_run_logs_each_of_its_steps_as_json(shop: Shop) -> None:
    shop.load(DAY)

    done = _python(A_RUN, ENGARDE_LOG_FORMAT="json")

    run_id = done.stdout.strip()
    events = parsed(done.stderr)
    assert {event.get("run_id") for event in events if event["logger"] == "engarde.spans"} == {run_id}
    merges = [event for event in events if event["message"] == "merge"]
    assert [(event["table"], event["date"], event["records_inserted"]) for event in merges] == [
        ("campaign_asset_metrics", str(DAY), 1),
        ("campaign_metrics", str(DAY), 2),
    ]
    assert all(event["job"] == "performance_sync" and event["duration_seconds"] > 0 for event in merges)
    # A message that Dagster stores in the history of the run, too, once.
    (read,) = [event for event in events if event["message"].startswith("campaign_metrics: read 2 rows")]
    assert (read["run_id"], read["job"], read["step"]) == (run_id, "performance_sync", "campaign_metrics")


@pytest.mark.long
def test_a_run_that_fails_says_why_as_json_without_secrets(shop: Shop) -> None:
    shop.load(DAY)
    address = "postgresql://engarde:s3cret-of-all@127.0.0.1:9/nothing"

    done = _python(A_RUN, ENGARDE_LOG_FORMAT="json", DATABASE_URL=address)

    events = parsed(done.stderr)
    assert "s3cret" not in done.stderr
    failures = [event for event in events if event.get("event") == "STEP_FAILURE"]
    assert {event["step"] for event in failures} >= {"campaign_metrics", "campaign_asset_metrics"}
    assert {event["level"] for event in failures} == {"error"}
    assert [event["exception"] for event in failures if "127.0.0.1" not in event["exception"]] == []


READABLE = """
import logging
from dagster import build_init_logger_context, colored_console_logger
from dagster._utils.log import configure_loggers
from engarde_pipeline.telemetry import configure_telemetry
configure_telemetry("test")
configure_loggers()
logging.getLogger("dagster").warning("from a daemon to postgresql://u:s3cret@db")
context = build_init_logger_context(logger_config={"log_level": "INFO", "name": "dagster"})
of_a_run = colored_console_logger(context)
of_a_run.warning("from a run to postgresql://u:s3cret@db")
"""


def test_readable_lines_have_no_secrets_either() -> None:
    done = _python(READABLE, BIGQUERY_PROJECT_ID="p", DATABASE_URL="postgresql://h/d")

    assert done.returncode == 0, done.stderr
    assert "from a daemon to postgresql://u:***@db" in done.stdout
    assert "from a run to postgresql://u:***@db" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
