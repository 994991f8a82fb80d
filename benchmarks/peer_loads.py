"""(d) Peers: the same rows, merged by other programs into tables of their own with our indexes.

The pipeline and the limit take their turns among them, with the same number of rows. Each program loads them
into a new database, then again with 0, 1, 10 and 100 % of them restated, and after each load its table is
compared with the source, row by row.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks import data, finished
from benchmarks.merge import sync
from benchmarks.peers import PEERS, compare
from benchmarks.peers.peer import SCHEMA, TABLE, Peer
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.postgres.connection import connect

FIRST = "first"
LOADS = (FIRST, *(f"{percent}" for percent in data.PERCENTS))
"""The loads of each program in their order: the first one, and with that percentage of the rows restated."""

OURS, OURS_OVER_ONE, LIMIT = "ours", "ours_over_one", "limit"


def measure(world: World, samples: Samples, peers: Sequence[type[Peer]] = PEERS) -> None:
    """Measure one round, each program in a new database. A peer that is not installed is left out."""
    sources = {percent: source(world, percent) for percent in data.PERCENTS}
    _ours(world, samples, sources, OURS_OVER_ONE, "our merge over one connection", 1)
    _ours(world, samples, sources, OURS, "our merge", None)
    _limit(world, samples)
    for peer in peers:
        if peer.is_installed():
            _peer(world, samples, sources, peer)


def _ours(
    world: World, samples: Samples, sources: dict[int, pa.Table], name: str, label: str, writers: int | None
) -> None:
    days = data.days(world.size.peer_dates)
    with world.database() as url:
        for load, percent in _loads():
            _settle(url, load)
            with samples.rate(f"peers.{name}.{load}", world.size.peer_rows):
                sync(world, url, days, world.rows(percent), f"{label}, {_described(load)}", writers)
            compare.check(url, TABLE, sources[percent], label)
            if load == FIRST and writers == 1 and not finished.exist(world, len(days)):
                finished.copy_out(world, url, len(days))


def _limit(world: World, samples: Samples) -> None:
    files = finished.files(world, world.size.peer_dates)
    name = f"peers.{LIMIT}.{FIRST}"
    with world.database() as url, world.bars.part("the limit"), samples.rate(name, world.size.peer_rows):
        finished.copy_in(url, files)


def _peer(world: World, samples: Samples, sources: dict[int, pa.Table], kind: type[Peer]) -> None:
    with world.database() as url:
        peer = kind(url, world.directory)
        with world.bars.part(f"{peer.label}, making its table"):
            peer.prepare(sources[0])
        for load, percent in _loads():
            _settle(url, load)
            with (
                world.bars.part(f"{peer.label}, {_described(load)}"),
                samples.rate(f"peers.{peer.name}.{load}", world.size.peer_rows),
            ):
                peer.load(sources[percent])
            compare.check(url, f"{SCHEMA}.{TABLE}", sources[percent], peer.label)


def _loads() -> list[tuple[str, int]]:
    return [(FIRST, 0), *((f"{percent}", percent) for percent in data.PERCENTS)]


def _described(load: str) -> str:
    return "first load" if load == FIRST else f"{load} % changed"


def _settle(url: str, load: str) -> None:
    if load != FIRST:  # why not before a first load, `World.database` says
        with connect(url) as connection:
            settle(connection)


def source(world: World, percent: int) -> pa.Table:
    """Return the source rows with the id of the campaign space in place of the campaign's on the platform."""
    ids = {
        world.portfolio.external_id_of(number): str(campaign_space_id)
        for number, campaign_space_id in enumerate(world.portfolio.campaign_space_ids)
    }
    rows = _read(world.rows(percent), world.size.peer_dates)
    mapped = pa.array([ids[campaign] for campaign in rows["campaign_id"].to_pylist()], pa.string())
    position = rows.schema.get_field_index("campaign_id")
    return rows.set_column(position, "campaign_space_id", mapped)


def _read(path: Path, dates: int) -> pa.Table:
    with pa.OSFile(str(path)) as opened, pa.ipc.open_file(opened) as file:
        return pa.Table.from_batches([file.get_batch(number) for number in range(dates)])
