"""`engarde jobs`: the job log for people, for scripts, and while it grows."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from dagster import DagsterInstance

from engarde_pipeline.definitions import defs
from engarde_pipeline.runs.run_config import range_run
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.dagster_runs import run_range, run_slice
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)


def test_without_a_sync_it_says_how_to_start_one(engarde: Engarde, instance: DagsterInstance) -> None:
    said = engarde("jobs")
    assert said.code == 0
    assert "There has been no sync yet. Start one with `engarde sync`" in said.words


def test_a_failed_job_says_why_in_a_sentence(engarde: Engarde, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.campaign_metrics")
    run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": "Acme"})

    said = engarde("jobs", width=120)

    assert said.code == 0
    assert "completed 2026-03-01 manual 3" in said.words
    assert "BigQuery has no table" in said.words
    assert "records rejected" in said.words  # the header: rejected records are no failed job


def test_a_cancelled_job_is_not_shown_as_failed(engarde: Engarde, instance: DagsterInstance) -> None:
    spec = range_run(DAY, DAY)
    run = instance.create_run_for_job(defs.resolve_job_def(spec.job), tags=spec.tags)
    instance.report_run_canceled(run)

    said = engarde("jobs", width=120)

    assert "cancelled 2026-03-01 manual" in said.words
    assert "The run was cancelled" not in said.words
    (job,) = [json.loads(line) for line in engarde("jobs", "--json").out.splitlines()]
    assert (job["status"], job["metadata"]["cancelled"]) == ("failed", True)


def test_for_scripts_each_job_is_one_line_of_json(engarde: Engarde, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    runs = [run_range(instance, DAY, DAY).run_id for _ in range(2)]

    found = [json.loads(line) for line in engarde("jobs", "--json").out.splitlines()]

    assert [job["id"] for job in found] == runs
    assert [job["records_inserted"] for job in found] == [3, 0]
    assert [job["records_unchanged"] for job in found] == [0, 3]
    assert {job["status"] for job in found} == {"completed"}
    assert len(engarde("jobs", "--json", "--limit", 1).out.splitlines()) == 1


@pytest.fixture
def following(instance: DagsterInstance) -> Iterator[subprocess.Popen[str]]:
    """`engarde jobs --follow --json`, ended afterwards."""
    command = [sys.executable, "-m", "engarde_pipeline.cli", "jobs", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=Path.cwd()) as process:
        yield process
        process.terminate()


def test_followed_it_shows_each_job_as_it_changes(
    following: subprocess.Popen[str], instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    run = run_range(instance, DAY, DAY).run_id

    assert following.stdout is not None
    for line in following.stdout:
        job = json.loads(line)
        assert job["id"] == run
        if job["status"] == "completed":
            break
    assert job["records_processed"] == 3
