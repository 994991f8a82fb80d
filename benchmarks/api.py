"""(j) The metrics endpoints under load: clients that ask again as soon as they are answered, beside the same
number of connections that run the bare SQL.

No query is repeated, because the API caches results; cached results are measured separately.
All clients are tasks of one event loop: as threads they would wait for one another, not for answers.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from itertools import count, cycle, islice
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp
import httpx
import psycopg
from sqlalchemy.engine import make_url

from benchmarks.children import ROOT
from benchmarks.queries import QUERIES, statement_of, values_of
from benchmarks.samples import Samples
from benchmarks.sizes import Size
from benchmarks.world import World
from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import mint
from engarde_pipeline.postgres.connection import connect, parameters
from engarde_pipeline.settings import API_ROLE

SECRET = "a-secret-of-the-benchmark-long-enough"  # noqa: S105  it signs nothing real
CACHED = "tenant, 30 dates, by campaign"
"""The query whose results the API caches."""

_GROUPS = {"metric_date": "date", "campaign_space_id": "campaign", "platform": "platform"}
_ONE_CAMPAIGN = "campaign_space_id ="
"""A query of one campaign says so; its endpoint always answers by date."""

Values = dict[str, Any]
Ask = Callable[[Values], Awaitable[bool]]
"""Asks, and returns whether there was an answer: the API may refuse what it has no time for."""
Client = Callable[[], AbstractAsyncContextManager[Ask]]


def measure(url: str, world: World, samples: Samples, dates: int, repeat: int) -> None:
    """Measure milliseconds per answer, p50 and p99, of the API and of the bare SQL, in turns."""
    with serving(url, world.directory, world.dagster_database_url) as (address, _):
        for name, (column, subject, span) in QUERIES.items():
            path, options = "/metrics", {"group_by": _GROUPS[column]}
            if _ONE_CAMPAIGN in subject:
                path, options = "/metrics/{campaign}", {}
            asking = partial(_asking, address + PREFIX + path, options)
            querying = partial(_querying, url, statement_of(column, subject))
            questions = (values_of(world, dates, span, number, spread=True) for number in count())
            asked = list(islice(questions, world.size.queries))
            with world.bars.part(f"api: {name}"):
                for measured, client in repeat * [("api", asking), ("api.sql", querying)]:
                    took = asyncio.run(_load(client, world.size, questions))
                    _add(samples, f"{measured}.{name}.{dates}", took)
                    if measured == "api":
                        _count(samples, world.size, dates, took)
            if name == CACHED:
                with world.bars.part(f"api: {name}, again"):
                    asyncio.run(_ask_each(asking, asked))
                    for _ in range(repeat):
                        took = asyncio.run(_load(asking, world.size, cycle(asked)))
                        _add(samples, f"api.again.{dates}", took)
                        _count(samples, world.size, dates, took)


def _count(samples: Samples, size: Size, dates: int, answered: Sequence[float]) -> None:
    requests = size.api_clients * size.api_requests
    samples.add(f"api.requests.{dates}", requests)
    samples.add(f"api.refused.{dates}", requests - len(answered))


def _add(samples: Samples, name: str, took: Sequence[float]) -> None:
    percentiles = quantiles(took, n=100, method="inclusive")
    samples.add(f"{name}.p50", percentiles[49])
    samples.add(f"{name}.p99", percentiles[98])


async def _load(client: Client, size: Size, questions: Iterator[Values]) -> list[float]:
    """Return the milliseconds of every answer but each client's first, for which connections are made."""
    everyone_is_connected = asyncio.Barrier(size.api_clients)

    async def work(first: Values, others: Sequence[Values]) -> list[float]:
        took = []
        async with client() as ask:
            await ask(first)
            await everyone_is_connected.wait()
            for values in others:
                started = time.perf_counter()
                if await ask(values):
                    took.append(1000 * (time.perf_counter() - started))
        return took

    works = [work(next(questions), list(islice(questions, size.api_requests))) for _ in range(size.api_clients)]
    return [one for took in await asyncio.gather(*works) for one in took]


async def _ask_each(client: Client, questions: Sequence[Values]) -> None:
    async with client() as ask:
        for values in questions:
            await ask(values)


@asynccontextmanager
async def _asking(url: str, options: dict[str, str]) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:

        async def ask(values: Values) -> bool:
            token = mint(SECRET, values["tenant"], "benchmark", timedelta(hours=1))
            params = {"start_date": str(values["start"]), "end_date": str(values["end"]), **options}
            headers = {"Authorization": f"Bearer {token}"}
            address = url.format(campaign=values["campaign"])
            async with session.get(address, params=params, headers=headers) as answer:
                body = await answer.read()
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return False
            assert answer.status == 200, body
            assert b'"metrics": [{' in body, "an answer without numbers measures nothing"
            return True

        yield ask


@asynccontextmanager
async def _querying(url: str, statement: bytes) -> AsyncIterator[Ask]:
    async with await psycopg.AsyncConnection.connect(**parameters(url), autocommit=True) as connection:

        async def ask(values: Values) -> bool:
            assert await (await connection.execute(statement, values)).fetchall()
            return True

        yield ask


@contextmanager
def serving(url: str, home: Path, dagster_database_url: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Serve the API in a process of its own, and yield its address and the process."""
    with connect(url) as connection:
        connection.execute(f"ALTER ROLE {API_ROLE} LOGIN".encode())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "DATABASE_URL": url,
        "DAGSTER_DATABASE_URL": dagster_database_url,
        "BIGQUERY_PROJECT_ID": "benchmark",
        "API_DATABASE_URL": make_url(url).set(username=API_ROLE).render_as_string(hide_password=False),
        "JWT_SECRET_KEY": SECRET,
        "API_RATE_LIMIT": "1000000/second",
        "ENGARDE_HOME": str(home),
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
        yield address, process
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
