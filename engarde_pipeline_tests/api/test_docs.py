"""docs/api.md is true: every example is asked for, and answered as the page says."""

import json
import re
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

import engarde_pipeline
from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.dagster_runs import execute
from engarde_pipeline_tests.shop import Shop

PAGE = (Path(engarde_pipeline.__file__).parents[1] / "docs" / "api.md").read_text()
EXAMPLE = re.compile(r"```http\n(\w+) (\S+)\n(.*?)```\s+```json\n(\d+)\n(.*?)```", re.DOTALL)
DAYS = date(2026, 3, 1), date(2026, 3, 2)


def _holds(said: Any, answered: Any) -> bool:
    """Whether all that the page shows is in the answer; the page may leave out fields."""
    if isinstance(said, dict):
        return all(name in answered and _holds(value, answered[name]) for name, value in said.items())
    if isinstance(said, list):
        return len(said) == len(answered) and all(map(_holds, said, answered))
    return bool(said == answered)


def test_every_example_is_answered_as_the_page_says(api: Service, shop: Shop) -> None:
    shop.add_currencies()
    shop.load(*DAYS, engagements=50, currency="EUR")
    shop.load_unmapped(DAYS[1], currency="EUR")
    versions = dict.fromkeys(DAYS, "v1")
    shop.world.sync(*DAYS, versions=versions)
    shop.world.sync(*DAYS, table=ASSET_METRICS, versions=versions)
    job_id = ""
    examples = EXAMPLE.findall(PAGE)
    assert len(examples) == PAGE.count("```http")
    for method, path, body, status, said in examples:
        url = PREFIX + path.format(job_id=job_id, campaign_space_id=shop.first, campaign_asset_id=shop.asset)
        answer = api.client.request(
            method, url, json=json.loads(body) if body else None, headers=api.headers(shop.tenant)
        )
        assert answer.status_code == int(status), (path, answer.text)
        assert _holds(json.loads(said), answer.json()), (path, answer.text)
        job_id = answer.json().get("sync_job", {}).get("id", job_id)


def test_the_python_client_watches_a_sync_to_its_end(
    api: Service, instance: DagsterInstance, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.load(*DAYS)
    (client,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = threading.Event()

    def daemon() -> None:
        while not done.wait(0.1):
            for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED])):
                execute(instance, run.run_id)
                return

    thread = threading.Thread(target=daemon)
    thread.start()
    try:
        token = api.headers(shop.tenant)["Authorization"].removeprefix("Bearer ")
        exec(client, {"API": api.url + PREFIX, "TOKEN": token})  # noqa: S102  it is what readers paste
    finally:
        done.set()
        thread.join()

    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "completed"
    assert {"2026-03-01", "2026-03-02"} < set(printed)


def test_the_docs_page_needs_no_token_and_no_other_server(api: Service) -> None:
    page = api.client.get("/docs")

    assert page.status_code == 200
    assert "://" not in page.text
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        assert api.client.get(file).status_code == 200, file
    policy = page.headers["content-security-policy"]
    assert "script-src 'self' 'sha256-" in policy
    assert "connect-src 'self'" in policy
    assert api.client.get("/redoc").status_code == 404
