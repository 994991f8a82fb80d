"""The BigQuery emulator with the benchmark's rows: a large dataset, and two of small dates, old and recent."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as parquet
from google.cloud import bigquery as google_bigquery

from benchmarks import data
from benchmarks.world import World
from engarde_pipeline.bigquery.client import create_client
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.local import bigquery
from engarde_pipeline.settings import Settings

PROJECT = "engarde-benchmark"
LARGE = "large"
SMALL = "small"
RECENT = "recent"

_DATES_PER_LOAD = 20
_TYPES = {pa.date32(): "DATE", pa.string(): "STRING", pa.int64(): "INT64", pa.float64(): "FLOAT64"}


@contextmanager
def emulator(world: World) -> Iterator[dict[str, str]]:
    """Run the emulator with its datasets; yield the environment that names it."""
    running = bigquery.start(world.directory / "emulator")
    try:
        environment = {
            "BIGQUERY_PROJECT_ID": PROJECT,
            "BIGQUERY_EMULATOR_HOST": running.rest_url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": running.grpc_address,
        }
        client = create_client(
            Settings(
                bigquery_project_id=PROJECT,
                bigquery_emulator_host=running.rest_url,
                database_url="postgresql://unused",
            )
        )
        size, portfolio = world.size, world.portfolio
        few = size.small_campaigns
        _fill(world, client, LARGE, size.dates, lambda day: data.source_rows(portfolio, day))
        _fill(world, client, SMALL, size.small_dates, lambda day: data.small(portfolio, day, few))
        first = data.number_of(data.recent_days(size.recent_dates)[0])
        _fill(world, client, RECENT, size.recent_dates, lambda n: data.small(portfolio, first + n, few))
        client.close()
        yield environment
    finally:
        bigquery.stop(running.pid)


def _fill(
    world: World,
    client: google_bigquery.Client,
    dataset: str,
    dates: int,
    rows: Callable[[int], pa.RecordBatch],
) -> None:
    table = f"{PROJECT}.{dataset}.{CAMPAIGN_METRICS.source}"
    columns = ", ".join(f"{field.name} {_TYPES[field.type]}" for field in data.SCHEMA)
    client.create_dataset(dataset)
    client.query(f"CREATE TABLE {table[len(PROJECT) + 1 :]} ({columns}) PARTITION BY metric_date").result()
    with world.bars.part(f"loading BigQuery's {dataset} dataset", dates) as advance:
        for first in range(0, dates, _DATES_PER_LOAD):
            days = range(first, min(first + _DATES_PER_LOAD, dates))
            _load(client, table, pa.Table.from_batches(map(rows, days)))
            for _ in days:
                advance()


def _load(client: google_bigquery.Client, table: str, rows: pa.Table) -> None:
    # Without a size, since the emulator takes nothing but resumable uploads.
    file = io.BytesIO()
    parquet.write_table(rows, file)
    file.seek(0)
    config = google_bigquery.LoadJobConfig(
        source_format=google_bigquery.SourceFormat.PARQUET, write_disposition="WRITE_APPEND"
    )
    client.load_table_from_file(file, table, job_config=config).result()
