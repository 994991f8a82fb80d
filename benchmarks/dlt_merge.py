"""(d) A peer: dlt merges the same Arrow rows into the same server, by their natural key.

As it comes, it leaves its table without any index; so it is also measured with the indexes our table has.
It does less: no foreign keys, no mapping of ids, no ratios, no rejected rows, no date by date.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from sqlalchemy.engine import make_url

from benchmarks import data
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.core.metrics import METRIC_DATE
from engarde_pipeline.postgres.connection import connect

_KEY = ("tenant_id", "campaign_id", "platform", METRIC_DATE)
_DATASET = "peer"
_TABLE = "campaign_metrics"

# What our columns are in dlt's table: it has no id of its own but the natural key, and no hours here.
_COLUMNS: dict[str, Sequence[str]] = {"id": _KEY, "campaign_space_id": ("campaign_id",), "metric_hour": ()}


def measure(world: World, samples: Samples) -> None:
    """Measure one round: first load and nothing changed, without indexes and with ours."""
    dates = -(-world.size.peer_rows // world.size.campaigns)
    rows = pa.Table.from_batches(
        data.source_rows(world.portfolio, day) for day in range(min(dates, world.size.dates))
    )
    for variant in ("plain", "indexed"):
        with world.database() as url:
            merge = _merger(world, url, variant)
            if variant == "indexed":
                merge(rows.slice(0, 1))  # makes the table
                _index(url)
            for name in ("first", "nothing"):
                if name != "first":
                    with connect(url) as connection:
                        settle(connection)
                label = f"dlt, {variant}, {name}"
                with world.bars.part(label), samples.rate(f"dlt.{variant}.{name}.rate", rows.num_rows):
                    merge(rows)
            _check(url, rows.num_rows)


def _merger(world: World, url: str, variant: str) -> Any:
    # Read by dlt when it is imported or a pipeline is made: no telemetry, nothing outside our directory.
    os.environ.update(
        {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "CRITICAL",
            "DLT_DATA_DIR": str(world.directory / "dlt"),
        }
    )
    import dlt

    # dlt insists on a user, password and host; libpq takes the host in the query part, a socket's directory.
    address = make_url(url).set(password="unused", host="socket")  # noqa: S106
    pipeline = dlt.pipeline(
        f"peer_{variant}_{make_url(url).database}",
        destination=dlt.destinations.postgres(address.render_as_string(hide_password=False)),
        dataset_name=_DATASET,
        pipelines_dir=str(world.directory / "dlt"),
    )

    def merge(rows: pa.Table) -> None:
        resource = dlt.resource(_yielding(rows), name=_TABLE, write_disposition="merge", primary_key=_KEY)
        pipeline.run(resource).raise_on_failed_jobs()

    return merge


def _yielding(rows: pa.Table) -> Iterator[pa.Table]:
    yield rows


def _index(url: str) -> None:
    with connect(url) as connection:
        for unique, method, columns in _our_indexes(connection):
            names = list(dict.fromkeys(name for column in columns for name in _COLUMNS.get(column, (column,))))
            connection.execute(
                f"CREATE {'UNIQUE' if unique else ''} INDEX ON {_DATASET}.{_TABLE}"
                f" USING {method} ({', '.join(names)})".encode()
            )
        connection.execute(f"TRUNCATE {_DATASET}.{_TABLE}".encode())


def _our_indexes(connection: psycopg.Connection) -> list[tuple[bool, str, list[str]]]:
    return connection.execute(
        """
        SELECT i.indisunique, am.amname,
               array_agg(a.attname::text ORDER BY k.position) AS columns
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = 'public.campaign_metrics'::regclass
        GROUP BY c.oid, i.indisunique, am.amname
        """
    ).fetchall()


def _check(url: str, rows: int) -> None:
    with connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {_DATASET}.{_TABLE}".encode()).fetchone()
    if row != (rows,):
        raise RuntimeError(f"dlt left {row} rows, not {rows}")
