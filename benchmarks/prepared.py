"""A stand-in for BigQuery: hands out source rows that were made beforehand, so that nothing but the merge
is measured."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import cast

import pyarrow as pa
from google.cloud import bigquery

from benchmarks import data
from engarde_pipeline.bigquery.extraction import Extraction, Selection, Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.metrics import MetricTable

_TYPES = {pa.date32(): "DATE", pa.string(): "STRING", pa.int64(): "INT64", pa.float64(): "FLOAT64"}


class PreparedSource:
    """What `sync_dates` asks of a `Source`, from a file that `data.write` wrote.

    The file is read, not mapped, batch by batch: it is small beside the merge (0.1 s for a million rows),
    and memory then shows what the sync holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def inspect(self, metric_table: MetricTable) -> SourceTable:
        """Return the source table as a schema check would."""
        return SourceTable(
            metric_table=metric_table,
            reference=bigquery.TableReference.from_string(f"benchmark.prepared.{metric_table.source}"),
            columns={field.name: _TYPES[field.type] for field in data.SCHEMA},
            source_names={field.name: field.name for field in data.SCHEMA},
            is_base_table=True,
        )

    def read(self, table: SourceTable, start: date, end: date, selection: Selection) -> Extraction:
        """Return the rows with `start <= metric_date <= end`; there are no slices here."""
        assert selection.is_everything, table
        return Extraction(self._batches(start, end), "prepared")

    def _batches(self, start: date, end: date) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self._path)) as opened, pa.ipc.open_file(opened) as file:
            for day in range((start - data.FIRST_DATE).days, (end - data.FIRST_DATE).days + 1):
                yield file.get_batch(day)


def prepared_source(path: Path) -> Source:
    """Return the stand-in for the file at `path`."""
    return cast("Source", PreparedSource(path))
