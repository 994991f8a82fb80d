"""`python -m benchmarks.live_updates`: what live updates cost, and how soon they arrive.

One process of the API has many subscribers, a hundred per tenant, over WebSockets. Each commit changes one date of
one tenant. Measured are the milliseconds from the commit until each subscriber of the tenant has the event, and
the memory of the API with and without subscribers. The reference is a bare connection that listens for the same
commits.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Annotated
from uuid import UUID, uuid4

import psycopg
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket

from benchmarks.api import SECRET, serving
from benchmarks.figures import milliseconds, size_of
from benchmarks.progress import Bars
from benchmarks.sizes import Size
from benchmarks.world import World, opened
from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import mint
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.change_notifications import CHANNEL
from engarde_pipeline.postgres.connection import connect, parameters

_PER_TENANT = 100
_CAMPAIGNS_PER_TENANT = 100
_DATES = 30
_PAUSE_SECONDS = 0.4
"""Longer than changes are collected for, so that each commit has an event of its own."""

app = typer.Typer(add_completion=False)
console = Console()


@app.command()
def main(
    subscribers: Annotated[int, typer.Option(min=_PER_TENANT, help="Subscribers, a hundred per tenant.")] = 1000,
    changes: Annotated[int, typer.Option(min=2, help="Commits that are measured.")] = 100,
) -> None:
    """Measure live updates: memory, and the time from a commit to its subscribers."""
    tenants = subscribers // _PER_TENANT
    size = replace(Size(), tenants=tenants, campaigns=tenants * _CAMPAIGNS_PER_TENANT, dates=1)
    bars = Bars(console)
    with (
        TemporaryDirectory(prefix="engarde-benchmark-", ignore_cleanup_errors=True) as path,
        opened(Path(path), size, bars) as world,
        world.database() as url,
        serving(url, world.directory, world.dagster_database_url) as (address, process),
    ):
        _load(url)
        memory, arrivals, notified = asyncio.run(_measure(url, world, address, process.pid, changes))
    table = Table("measure", "figure", "reference")
    p50, p99 = _percentiles(arrivals)
    bare50, bare99 = _percentiles(notified)
    console.print(f"{subscribers:,} subscribers of {tenants} tenants, {changes} commits, {len(arrivals):,} events")
    table.add_row("commit to event, p50", milliseconds(p50), f"bare notification: {milliseconds(bare50)}")
    table.add_row("commit to event, p99", milliseconds(p99), f"bare notification: {milliseconds(bare99)}")
    table.add_row("memory with subscribers", size_of(memory[1]), f"without: {size_of(memory[0])}")
    console.print(table)


async def _measure(
    url: str, world: World, address: str, pid: int, changes: int
) -> tuple[tuple[int, int], list[float], list[float]]:
    before = _memory(pid)
    committed: dict[UUID, float] = {}
    arrivals: list[float] = []
    notified: list[float] = []

    async def follow(socket: ClientConnection, tenant: UUID) -> None:
        async for message in socket:
            assert json.loads(message)["event"] == "changed", message
            arrivals.append(1000 * (time.perf_counter() - committed[tenant]))

    async with AsyncExitStack() as stack:
        sockets = [
            (await stack.enter_async_context(_subscribed(address, tenant)), tenant)
            for tenant in track(world.portfolio.tenant_ids, "subscribing", console=console)
            for _ in range(_PER_TENANT)
        ]
        after = _memory(pid)
        bare = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(**parameters(url), autocommit=True)
        )
        await bare.execute(f"LISTEN {CHANNEL}")
        writer = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(**parameters(url), autocommit=True)
        )
        tasks = [asyncio.create_task(follow(socket, tenant)) for socket, tenant in sockets]
        for number in track(range(changes), "changing dates", console=console):
            tenant = world.portfolio.tenant_ids[number % len(world.portfolio.tenant_ids)]
            day = today() - timedelta(days=number % _DATES)
            expected = len(arrivals) + _PER_TENANT
            committed[tenant] = await _change(writer, tenant, day)
            await anext(bare.notifies(timeout=5, stop_after=1))
            notified.append(1000 * (time.perf_counter() - committed[tenant]))
            async with asyncio.timeout(10):
                while len(arrivals) < expected:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(_PAUSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return (before, after), arrivals, notified


async def _change(writer: psycopg.AsyncConnection, tenant: UUID, day: date) -> float:
    """Change a date of a tenant, as a merge does; return the moment after the commit."""
    async with writer.transaction():
        await writer.execute(
            "UPDATE campaign_metrics SET clicks = clicks + 1, synced_from_bigquery_at = now()"
            " WHERE tenant_id = %s AND metric_date = %s",
            [tenant, day],
        )
        await writer.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{CAMPAIGN_METRICS.target} {day}"])
    return time.perf_counter()


@asynccontextmanager
async def _subscribed(address: str, tenant: UUID) -> AsyncIterator[ClientConnection]:
    token = mint(SECRET, tenant, "benchmark", timedelta(hours=1))
    url = f"{address.replace('http', 'ws')}{PREFIX}/live"
    async with connect_socket(url, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        yield socket


def _load(url: str) -> None:
    """Give every campaign a row for each date."""
    with connect(url) as connection:
        connection.execute(
            """
            INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, impressions, clicks,
                                          bigquery_sync_id, synced_from_bigquery_at)
            SELECT tenant_id, id, platform, day, 1000, 10, %s, now()
            FROM campaign_spaces, generate_series(%s::date, %s::date, interval '1 day') day
            """,
            [uuid4(), today() - timedelta(days=_DATES - 1), today()],
        )
        connection.execute("VACUUM (ANALYZE)")


def _memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def _percentiles(figures: Sequence[float]) -> tuple[float, float]:
    percentiles = quantiles(figures, n=100, method="inclusive")
    return percentiles[49], percentiles[98]


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.live_updates")
