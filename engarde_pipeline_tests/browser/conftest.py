"""A real Dagster UI and daemon on sample data, and a real Chromium to look at them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
from engarde_pipeline_tests.api.service import free_port
from engarde_pipeline_tests.servers import skip_without
from engarde_pipeline_tests.world import World

FIRST_DATE = today() - timedelta(days=9)
DATES = (latest_date() - FIRST_DATE).days + 1
"""How many partitions there are, up to the latest date on Earth."""


@contextmanager
def _chromium() -> Iterator[Browser]:
    """Run Debian's Chromium, or the one that Playwright downloaded."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )


@pytest.fixture(scope="session", autouse=True)
def _chromium_starts() -> None:
    """Skip the tests here at once where no Chromium can be started."""
    try:
        with _chromium() as browser:
            browser.close()
    except Exception as error:  # without a library that its driver needs, Playwright raises no error of its own
        skip_without("Chromium", f"cannot be started ({str(error).splitlines()[0]})")


@pytest.fixture
def sample_world(configured: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The configured world with the sample data in BigQuery, its mapping in Postgres, and nothing synced."""
    seed_postgres(configured.connection)
    fill_bigquery(configured.source.client, configured.dataset, today())
    monkeypatch.setenv("ENGARDE_FIRST_DATE", str(FIRST_DATE))
    # The day's bytes are used up: sensors and schedules keep still, and what a person starts goes on.
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "1")
    configured.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1)")
    return configured


@pytest.fixture
def ui(sample_world: World) -> Iterator[str]:
    """The address of `engarde dev` on the sample world."""
    port = free_port()
    ports = ["--port", str(port), "--metrics-port", str(free_port())]
    process = subprocess.Popen(
        [sys.executable, "-m", "engarde_pipeline.cli", "dev", *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/server_info", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()  # it ends the daemon and the code server, too
        process.wait(timeout=60)


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of Chromium."""
    with _chromium() as browser:
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield tab
        browser.close()


@pytest.fixture
def picture(page: Page) -> Callable[[str], None]:
    """`picture("date")` keeps what is to be seen in the directory that ENGARDE_PICTURES names, if it does."""

    def take(name: str) -> None:
        if directory := os.environ.get("ENGARDE_PICTURES"):
            page.wait_for_timeout(1000)  # animations
            page.screenshot(path=Path(directory) / f"{name}.png")

    return take


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            requests.get(url, timeout=5)
        except requests.RequestException:
            assert process.poll() is None, "engarde dev ended"
            assert time.monotonic() < deadline, "the Dagster UI does not answer"
            time.sleep(0.2)
        else:
            return
