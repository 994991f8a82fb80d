"""(h) A process of its own that syncs prepared rows: `children.run` starts it and reads its peak memory."""

import json
import sys
from itertools import chain
from pathlib import Path
from uuid import uuid4

from benchmarks import data
from benchmarks.children import peak_memory
from benchmarks.prepared import prepared_source
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.dates import SyncedDate
from engarde_pipeline.sync.parallel import sync_in_parallel


def main(_started: str, url: str, rows: str, dates: str) -> None:
    """Sync the first `dates` dates of the file `rows`; print the dates that landed and the peak memory."""
    days = data.days(int(dates))
    outcomes = sync_in_parallel(
        CAMPAIGN_METRICS,
        days,
        prepared_source(Path(rows)),
        lambda: connect(url),
        # With versions, the dates are noted as synced; otherwise the API would list all of them as missing.
        LoadOptions(uuid4(), 0.5, 2, versions=dict.fromkeys(days, "1")),
        load_pipeline_settings().engarde_writers,
    )
    landed = sum(isinstance(outcome, SyncedDate) for outcome in chain.from_iterable(outcomes))
    sys.stdout.write(json.dumps({"landed": landed, "memory": peak_memory()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
