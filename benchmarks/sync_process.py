"""(h) A process of its own that syncs prepared rows: `children.run` starts it and reads its peak memory."""

import json
import sys
from pathlib import Path
from uuid import uuid4

from benchmarks import data
from benchmarks.children import peak_memory
from benchmarks.prepared import prepared_source
from engarde_pipeline.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.sync.dates import SyncedDate, sync_dates


def main(_started: str, url: str, rows: str, dates: str) -> None:
    """Sync the first `dates` dates of the file `rows`; print the dates that landed and the peak memory."""
    landed = 0
    with connect(url) as connection:
        days, source = data.days(int(dates)), prepared_source(Path(rows))
        for outcome in sync_dates(CAMPAIGN_METRICS, days, source, connection, uuid4(), 0.5):
            landed += isinstance(outcome, SyncedDate)
    sys.stdout.write(json.dumps({"landed": landed, "memory": peak_memory()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
