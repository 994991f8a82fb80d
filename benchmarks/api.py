"""(j) The metrics endpoints under load: clients that ask again as soon as they are answered, beside the same
number of connections that run the bare SQL.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from statistics import quantiles
from typing import Any

import httpx
from sqlalchemy.engine import make_url

from benchmarks.children import ROOT
from benchmarks.queries import QUERIES, statement_of, values_of
from benchmarks.samples import Samples
from benchmarks.world import World
from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import mint
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.settings import API_ROLE

_SECRET = "a-secret-of-the-benchmark-long-enough"  # noqa: S105  it signs nothing real
_GROUPS = {"metric_date": "date", "campaign_space_id": "campaign", "platform": "platform"}

Ask = Callable[[dict[str, Any]], None]


def measure(url: str, world: World, samples: Samples, dates: int) -> None:
    """Measure milliseconds per answer, p50 and p99, of the API and of the bare SQL."""
    with _serving(url, world) as address:
        for name, (column, subject, span) in QUERIES.items():
            wanted = [values_of(world, dates, span, number) for number in range(world.size.queries)]
            with world.bars.part(f"api: {name}"):
                path = "/metrics/{campaign}" if "campaign_space_id =" in subject else "/metrics"
                group = _GROUPS[column]
                _load(world, samples, f"api.{name}.{dates}", wanted, lambda: _asking(address, path, group))  # noqa: B023
                statement = statement_of(column, subject)
                _load(world, samples, f"api.sql.{name}.{dates}", wanted, lambda: _querying(url, statement))  # noqa: B023


def _load(
    world: World, samples: Samples, name: str, wanted: list[dict[str, Any]], asker: Callable[[], Iterator[Ask]]
) -> None:
    clients = world.size.api_clients

    def work(client: int) -> list[float]:
        took = []
        with contextmanager(asker)() as ask:
            for values in wanted[client::clients] or wanted[:1]:
                started = time.perf_counter()
                ask(values)
                took.append(1000 * (time.perf_counter() - started))
        return took

    with ThreadPoolExecutor(clients) as threads:
        took = [one for client in threads.map(work, range(clients)) for one in client]
    percentiles = quantiles(took, n=100, method="inclusive")
    samples.add(f"{name}.p50", percentiles[49])
    samples.add(f"{name}.p99", percentiles[98])


def _asking(address: str, path: str, group: str) -> Iterator[Ask]:
    with httpx.Client(base_url=address + PREFIX, timeout=30) as client:
        # The connection is made before the measuring begins.
        client.get("/health/live")

        def ask(values: dict[str, Any]) -> None:
            token = mint(_SECRET, values["tenant"], "benchmark", timedelta(hours=1))
            params = {"start_date": str(values["start"]), "end_date": str(values["end"]), "group_by": group}
            answer = client.get(
                path.format(campaign=values["campaign"]),
                params=params,
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["metrics"], "an answer without numbers measures nothing"

        yield ask


def _querying(url: str, statement: bytes) -> Iterator[Ask]:
    with connect(url) as connection:

        def ask(values: dict[str, Any]) -> None:
            assert connection.execute(statement, values).fetchall()

        yield ask


@contextmanager
def _serving(url: str, world: World) -> Iterator[str]:
    with connect(url) as connection:
        connection.execute(f"ALTER ROLE {API_ROLE} LOGIN".encode())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "DATABASE_URL": url,
        "BIGQUERY_PROJECT_ID": "benchmark",
        "API_DATABASE_URL": make_url(url).set(username=API_ROLE).render_as_string(hide_password=False),
        "JWT_SECRET_KEY": _SECRET,
        "API_RATE_LIMIT": "1000000/second",
        "ENGARDE_HOME": str(world.directory),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "engarde_pipeline.cli", "api", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{address}/health/live")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the API did not start")
