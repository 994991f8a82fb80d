"""One tenant with 10,000 campaigns and 10,000 creatives beside twenty small ones, asked by many clients at once.

`python -m benchmarks.large_tenant build DIRECTORY` makes the rows by SQL, in a database that it keeps; `measure
DIRECTORY` serves the API on it. The clients are one more process, because they would wait for each other in this
one. What is asked again and again is cached by the API, as for dashboards; with `--uncached` no question is
repeated, and each is summed anew. The times include those of the clients, which share the cores: a second crowd
has the lowest priority, so that it takes no time from the server, as if it were on another machine.

The other tenant is measured alone, beside the crowds, and beside a process per core that only computes: what it
then waits longer is the scheduler's, whatever the API does.
"""

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count, cycle
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import UUID

import aiohttp
import typer

from benchmarks.api import SECRET, serving
from benchmarks.children import ROOT
from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import mint
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.totals.metric_blocks import PLATFORM_DAYS, SUBJECTS, update_blocks

LAST_DATE = date(2026, 11, 26)
SPANS = (30, 90, 365)
TOP = {"order_by": "spend", "limit": "50"}
QUESTIONS: dict[str, tuple[str, dict[str, str]]] = {
    f"{group}{', top 50' if top else ''}, {span} dates": (path, {"group_by": group, "span": str(span), **top})
    for group, path in (("campaign", "/metrics"), ("asset", "/assets/metrics"))
    for top in ({}, TOP)
    for span in SPANS
}

_NEIGHBOUR_ASKS = "campaign, 30 dates"

# Tenant 0 is the large one; the others have a hundred campaigns and assets each.
_SUBJECTS = """
INSERT INTO tenants (id, name) SELECT md5('t' || n)::uuid, 'Tenant ' || n FROM generate_series(0, 20) n;
INSERT INTO campaign_spaces (id, tenant_id, name, platform, external_campaign_id)
SELECT md5('campaign' || n)::uuid, md5('t' || greatest(0, (n - 9900) / 100))::uuid, 'Campaign ' || n,
       (ARRAY['meta', 'google', 'tiktok', 'linkedin'])[1 + n / 3 % 4], n
FROM generate_series(0, 11999) n;
INSERT INTO campaign_assets (id, tenant_id, campaign_space_id, external_asset_id, name)
SELECT md5('asset' || n)::uuid, c.tenant_id, c.id, n, 'Asset ' || n
FROM generate_series(0, 11999) n
JOIN campaign_spaces c ON c.id = md5('campaign' || CASE WHEN n < 10000 THEN n / 2 * 2 ELSE n END)::uuid;
"""
_ROWS = """
INSERT INTO {table} (tenant_id, {subject}, platform, metric_date, impressions, clicks, spend, conversions, revenue,
    bigquery_sync_id, synced_from_bigquery_at)
SELECT c.tenant_id, s.id, c.platform, date '{last}' - n, i, i / 40, i * 0.0123, i / 900, i * 0.0345,
    gen_random_uuid(), now()
FROM generate_series({dates} - 1, 0, -1) n
CROSS JOIN {subjects} s JOIN campaign_spaces c ON c.id = {campaign}
CROSS JOIN LATERAL (SELECT exp(3 + 6 * random() + 0 * n)::int + (c.id IS NULL)::int) r (i)
"""
_SUMS = """
INSERT INTO {sums} (tenant_id, metric_date, platform, row_count, impressions, clicks, spend, conversions, revenue)
SELECT tenant_id, metric_date, platform, count(*), sum(impressions), sum(clicks), sum(spend), sum(conversions),
       sum(revenue)
FROM {table}
GROUP BY 1, 2, 3
"""
_DUE = "INSERT INTO due_blocks SELECT %(table)s, %(last)s::date - n FROM generate_series(0, %(dates)s - 1) n"
_SYNCED = """
INSERT INTO synced_dates (table_name, metric_date, version, run_id)
SELECT %(table)s, %(last)s::date - n, '1', gen_random_uuid() FROM generate_series(0, %(dates)s - 1) n
"""

app = typer.Typer(add_completion=False)


def tenant(number: int) -> UUID:
    """Return the id of a tenant; 0 is the large one."""
    return UUID(hashlib.md5(f"t{number}".encode(), usedforsecurity=False).hexdigest())


@app.command()
def build(directory: Path, dates: int = 1000, asset_dates: int = 365) -> None:
    """Make the database, unless it is there: 10,000 campaigns x 1,000 dates take some 4.5 GB and ten minutes."""
    url = postgres.start(directory)
    migrate.upgrade(url)
    with connect(url) as connection:
        # Without triggers and indexes, which would take longer than the rows.
        connection.execute("SET session_replication_role = replica")
        connection.execute(_SUBJECTS)
        for table, subjects, campaign, number in (
            (CAMPAIGN_METRICS.target, "campaign_spaces", "s.id", dates),
            (ASSET_METRICS.target, "campaign_assets", "s.campaign_space_id", asset_dates),
        ):
            names = {"table": table, "subject": SUBJECTS[table], "subjects": subjects, "campaign": campaign}
            indexes = connection.execute(
                "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
                " WHERE indrelid = %s::regclass AND NOT indisprimary",
                [table],
            ).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}".encode())
            connection.execute(_ROWS.format(last=LAST_DATE, dates=number, **names).encode())
            for _, definition in indexes:
                connection.execute(definition.encode())
            connection.execute(_SUMS.format(table=table, sums=PLATFORM_DAYS[table]).encode())
            for statement in (_DUE, _SYNCED):
                connection.execute(statement, {"table": table, "last": LAST_DATE, "dates": number})
        started = time.monotonic()
        update_blocks(connection)
        typer.echo(f"all blocks: {time.monotonic() - started:.1f} s")
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


@app.command()
def measure(
    directory: Path, clients: int = 20, seconds: float = 10, uncached: bool = False, only: str = ""
) -> None:
    """Print p50 and p99 of each question, and another tenant's p99 while the large one is asking."""
    url = postgres.start(directory)
    with serving(url, directory, postgres.dagster_database_url(directory)) as (address, _):
        for name in QUESTIONS:
            if only in name:
                for number in (1, clients):
                    _show(f"{name}, {number} clients", _load(address, 0, number, seconds, uncached, name))
        for _ in range(3):
            _show("another tenant, quiet", _load(address, 1, 1, seconds, True, _NEIGHBOUR_ASKS))
            with _busy_cores():
                _show("another tenant, beside busy cores", _load(address, 1, 1, seconds, True, _NEIGHBOUR_ASKS))
            for crowd, niceness in (("the crowd", 0), ("the crowd with the lowest priority", 19)):
                asking = _start(address, 0, clients, 2 * seconds, uncached, "")
                os.setpriority(os.PRIO_PROCESS, asking.pid, niceness)
                time.sleep(seconds / 2)
                busy = _load(address, 1, 1, seconds, True, _NEIGHBOUR_ASKS)
                _show(f"another tenant, beside {crowd}", busy)
                _show(crowd, _result(asking))


@app.command(hidden=True)
def load(address: str, number: int, clients: int, seconds: float, uncached: bool, name: str) -> None:
    """Ask as tenant `number`, and print the milliseconds of each answer and the statuses."""
    typer.echo(json.dumps(asyncio.run(_ask(address, tenant(number), clients, seconds, uncached, name))))


async def _ask(
    address: str, asker: UUID, clients: int, seconds: float, uncached: bool, name: str
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {mint(SECRET, asker, 'benchmark', timedelta(hours=1))}"}
    names = cycle([one for one in QUESTIONS if not name or one == name])
    back = count() if uncached else cycle([0])
    took: list[float] = []
    statuses: dict[str, int] = {}
    deadline = time.monotonic() + seconds

    async def work() -> None:
        async with aiohttp.ClientSession(headers=headers) as session:
            first = True
            while time.monotonic() < deadline:
                path, options = QUESTIONS[next(names)]
                end = LAST_DATE - timedelta(next(back) % 200)
                start = end - timedelta(int(options["span"]) - 1 + (random.randrange(9) if uncached else 0))  # noqa: S311
                params = {**options, "start_date": str(start), "end_date": str(end)}
                del params["span"]
                started = time.perf_counter()
                async with session.get(address + PREFIX + path, params=params) as answer:
                    await answer.read()
                if not first:  # connections are made for it
                    took.append(1000 * (time.perf_counter() - started))
                first = False
                statuses[str(answer.status)] = statuses.get(str(answer.status), 0) + 1

    await asyncio.gather(*(work() for _ in range(clients)))
    return {"took": took, "statuses": statuses}


@contextmanager
def _busy_cores() -> Iterator[None]:
    computing = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in computing:
            process.kill()
            process.wait()


def _start(address: str, *options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.large_tenant", "load", address, *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def _result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, _ = process.communicate()
    assert process.returncode == 0, "the clients failed"
    found: dict[str, Any] = json.loads(output)
    return found


def _load(*arguments: Any) -> dict[str, Any]:
    return _result(_start(*arguments))


def _show(name: str, found: dict[str, Any]) -> None:
    took = found["took"]
    percentiles = quantiles(took, n=100, method="inclusive") if len(took) > 1 else [float("nan")] * 99
    typer.echo(
        f"{name}: p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms, {len(took)} answers, statuses"
        f" {found['statuses']}"
    )


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.large_tenant")
