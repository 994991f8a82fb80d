"""Reads logs as a log collector does."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engarde_pipeline_tests.servers import installed_program

PAGE = Path(__file__).parents[2] / "docs" / "logs-and-traces.md"


def parsed(log: str) -> list[dict[str, Any]]:
    """Return the events of a log in JSON, each of whose lines has to be one.

    The first lines of a process of Dagster's, before it loads the pipeline, have Dagster's own fields.
    """
    events = []
    for line in log.splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            raise AssertionError(f"This line is not JSON: {line!r}") from None
    while events and "message" not in events[0] and events[0]["logger"].startswith("dagster"):
        del events[0]
    assert all({"timestamp", "level", "logger", "message"} <= event.keys() for event in events)
    return events


def documented_questions() -> dict[str, str]:
    """The commands of the page that ask a log, by the question above each."""
    (block,) = re.findall(r"### Questions to a day's log\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    questions = (part.partition("\n") for part in block.strip().split("\n\n"))
    return {title.removeprefix("# "): command for title, _, command in questions}


def answer(question: str, directory: Path, **ids: str) -> Sequence[str]:
    """What a command of the page prints in a directory with logs; its example ids are replaced."""
    installed_program("jq")
    command = documented_questions()[question]
    for example, own in {"order-4711": ids.get("request", ""), "8bd72983-...": ids.get("run", "")}.items():
        command = command.replace(example, own)
    done = subprocess.run(["sh", "-c", command], cwd=directory, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def assert_tells_runs(log: str, good: str, failed: str, day: str) -> None:
    """Check that a log has, in JSON, what became of a good and of a failed run of one date each."""
    events = parsed(log)
    of_runs = [event for event in events if event.get("run_id") in (good, failed)]
    assert all(event["job"] for event in of_runs)
    spans = [event for event in of_runs if event["logger"] == "engarde.spans"]
    assert all(event["duration_seconds"] >= 0 for event in spans)
    merges = [event for event in spans if event["message"] == "merge" and event["run_id"] == good]
    assert {(event["table"], event["date"]) for event in merges if "error" not in event} == {
        ("campaign_metrics", day),
        ("campaign_asset_metrics", day),
    }
    assert {event["records_inserted"] for event in merges} == {1, 2}
    (whole,) = [event for event in spans if event["message"] == "run" and event["run_id"] == good]
    assert "error" not in whole
    ends = {event["event"] for event in of_runs if event["run_id"] == failed and "event" in event}
    assert {"STEP_FAILURE", "RUN_FAILURE"} <= ends
    failures = [event for event in of_runs if event.get("event") == "STEP_FAILURE"]
    assert {(event["run_id"], event["level"]) for event in failures} == {(failed, "error")}
    assert all(event["step"] and event["exception"] for event in failures)
