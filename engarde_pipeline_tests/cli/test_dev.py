"""`engarde dev`: what it does where a part of it cannot start, and what it starts."""

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import mint
from engarde_pipeline_tests.api.service import SECRET, free_port
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)


def test_a_secret_that_is_refused_ends_the_command_before_anything_starts(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "short")
    said = engarde("dev")
    assert said.code == 1
    assert "JWT_SECRET_KEY: is too short" in said.words
    assert "Starting" not in said.words


@pytest.mark.parametrize(
    ("option", "listener"),
    [("--port", "The Dagster UI"), ("--api-port", "The REST API"), ("--metrics-port", "The exporter")],
)
def test_a_port_in_use_ends_the_command_before_anything_starts_and_the_option_is_named(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch, option: str, listener: str
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    ports = {name: free_port() for name in ("--port", "--api-port", "--metrics-port")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = taken.getsockname()[1]
        said = engarde("dev", *(word for pair in ports.items() for word in pair))
    assert said.code == 1
    assert f"{listener} cannot listen on port {ports[option]}: Address already in use." in said.words
    (suggested,) = re.findall(r"such as `engarde dev (--\S+) (\d+)`", said.words)
    assert suggested[0] == option
    assert int(suggested[1]) not in ports.values()
    assert "Starting" not in said.words


def test_all_ports_in_use_are_named_at_once(
    engarde: Engarde, configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [server.getsockname()[1] for server in taken]
        said = engarde("dev", "--port", ports[0], "--api-port", ports[1], "--metrics-port", ports[2])
    options = r"--port \d+ --api-port \d+ --metrics-port \d+"
    assert re.search(rf"Choose others, such as `engarde dev {options}`", said.words)


@pytest.mark.parametrize(
    ("command", "options", "option"),
    [("exporter", [], "--port"), ("api", [], "--port"), ("api", ["--port", str(free_port())], "--metrics-port")],
)
def test_a_single_process_names_the_option_of_its_port(
    configured: World, command: str, options: list[str], option: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [command, *options, option, str(taken.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-m", "engarde_pipeline.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "200"},
        )
    assert done.returncode == 1
    assert f"such as `engarde {command} {option} " in done.stderr


@pytest.mark.long
def test_a_sync_that_the_api_starts_runs_to_its_end_and_a_second_one_is_refused(
    engarde: Engarde, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.load(DAY)
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    # The day's bytes are used up, so sensors and schedules start nothing.
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "1")
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1)")
    headers = {"Authorization": f"Bearer {mint(SECRET, shop.tenant, 'u', timedelta(hours=1))}"}
    body = {"start_date": str(DAY), "end_date": str(DAY)}
    api_port = free_port()
    api = httpx.Client(base_url=f"http://127.0.0.1:{api_port}{PREFIX}", headers=headers, timeout=30)

    def is_started() -> bool:
        try:
            return api.post("/sync", json=body).status_code == 202
        except httpx.TransportError:
            assert process.poll() is None
            return False

    port, log, errors = free_port(), tmp_path / "log", tmp_path / "errors"
    metrics_port = free_port()
    command = [sys.executable, "-m", "engarde_pipeline.cli", "dev", "--port", str(port)]
    command += ["--metrics-port", str(metrics_port)]
    with (
        log.open("w") as output,
        errors.open("w") as error_output,
        subprocess.Popen([*command, "--api-port", str(api_port)], stdout=output, stderr=error_output) as process,
    ):
        try:
            eventually(is_started, "the sync is started")
            eventually(lambda: api.get("/sync-status").json()["last_sync"] is not None, "the sync is completed")
            eventually(lambda: "Everything is ready." in log.read_text(), "everything is ready")
            metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30).text
            second = engarde("dev")
        finally:
            process.terminate()
    assert second.code == 1
    assert f"already running on {os.environ['DAGSTER_HOME']}: process {process.pid}, with the" in second.words
    assert f"http://127.0.0.1:{port}. A second daemon" in second.words
    words = " ".join(log.read_text().split())
    assert words.count("http://") == 4, words
    assert f"Everything is ready. Pages http://127.0.0.1:{api_port}/ Dagster UI" in words
    assert "login/link" not in words  # people log in with OpenID Connect where servers are configured
    assert f"Dagster UI http://127.0.0.1:{port} REST API http://127.0.0.1:{api_port}/docs" in words
    assert f"Metrics http://127.0.0.1:{metrics_port}/metrics" in words
    # Materialize on campaign_metrics would leave the metrics of creatives missing.
    assert "choose Jobs, performance_sync, Materialize all, and a range of dates" in words
    notices = log.read_text() + errors.read_text()
    assert "superseded" not in notices
    assert "dagster.yaml" not in notices
    assert "Checking for new runs" not in log.read_text()
    assert len(shop.world.rows()) == 2
    assert re.search(r'^engarde_sync_runs_total{job="\w+",status="success"} 1.0$', metrics, re.MULTILINE)
