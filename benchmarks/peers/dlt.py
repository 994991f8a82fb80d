"""dlt: its `merge` write disposition, with the Arrow rows as they come and the loader that it chooses itself.

dlt makes its own table, with text where ours has uuid, so it has no foreign keys. It creates no index; so it is
measured with the indexes of ours, and as it comes.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
from sqlalchemy.engine import make_url

from benchmarks.peers import like_ours
from benchmarks.peers.peer import KEY, SCHEMA, TABLE, Peer
from engarde_pipeline.postgres.connection import connect


class DltWithoutIndexes(Peer):
    """dlt as it comes."""

    name = "dlt_plain"
    label = "dlt as it comes, no index"
    does_less = "no indexes, no foreign keys, no ratios"
    packages = ("dlt",)
    module = "dlt"

    def prepare(self, rows: pa.Table) -> None:
        """Let dlt make the table."""
        self.load(rows.slice(0, 1))
        with connect(self.url) as connection:
            connection.execute(f"TRUNCATE {SCHEMA}.{TABLE}".encode())

    def load(self, rows: pa.Table) -> None:
        """Run the pipeline: extract, normalize, load."""
        import dlt

        resource = dlt.resource(_yielding(rows), name=TABLE, write_disposition="merge", primary_key=KEY)
        self._pipeline.run(resource).raise_on_failed_jobs()

    @cached_property
    def _pipeline(self) -> Any:
        # Read by dlt when it is imported or a pipeline is made: no telemetry, nothing outside our directory.
        os.environ.update(
            {
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "RUNTIME__LOG_LEVEL": "CRITICAL",
                "DLT_DATA_DIR": str(self.directory / "dlt"),
            }
        )
        import dlt

        # dlt insists on a user, password and host; libpq takes the host in the query part, a socket's directory.
        address = make_url(self.url).set(password="unused", host="socket")  # noqa: S106
        return dlt.pipeline(
            f"{self.name}_{address.database}",
            destination=dlt.destinations.postgres(address.render_as_string(hide_password=False)),
            dataset_name=SCHEMA,
            pipelines_dir=str(self.directory / "dlt"),
        )


class Dlt(DltWithoutIndexes):
    """dlt with the indexes of our table."""

    name = "dlt"
    label = "dlt"
    does_less = "no foreign keys, no ratios"

    def prepare(self, rows: pa.Table) -> None:
        """Let dlt make the table, and add the indexes."""
        super().prepare(rows)
        like_ours.copy_indexes(self.url, {"id": ("tenant_id", *KEY), "metric_hour": ()})


def _yielding(rows: pa.Table) -> Iterator[pa.Table]:
    yield rows
