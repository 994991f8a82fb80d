"""Metrics as pandas DataFrames, for notebooks.

from engarde_pipeline.frames import read_metrics

metrics = read_metrics("2026-11-01", "2026-11-23", group_by="campaign")
"""

from datetime import date

import pandas as pd
import pyarrow as pa

from engarde_pipeline.core.dates import requested_dates
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.scope import resolve_scope
from engarde_pipeline.postgres.reads.metric_rows import GroupBy, MetricRows
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.settings import load_database_settings


def read_metrics(
    start: date | str,
    end: date | str,
    *,
    tenant: str | None = None,
    platform: str | None = None,
    group_by: GroupBy | None = None,
    assets: bool = False,
) -> pd.DataFrame:
    """Return the metrics from `start` to `end`, both included, as they are in Postgres.

    The columns have Arrow-backed dtypes: amounts are exact decimals (`decimal128(38, 6)`), counts are `int64`,
    ratios are `double`, and missing values are `<NA>`. Each row has its tenant's id.

    Args:
        start: The first date: a date, or 2026-11-01, today, yesterday, or -7d for seven days ago (UTC).
        end: The last date.
        tenant: Only this tenant (its name or uuid).
        platform: Only this ad platform.
        group_by: `date`, `campaign`, `platform` or, with `assets`, `asset`: a row per tenant, group and currency,
            with sums, and ratios of the sums. Without it, a row per campaign space or asset and date.
        assets: Read the metrics of assets instead of those of campaigns.

    Raises:
        InvalidSettings: DATABASE_URL is missing or malformed.
        InvalidDates: the dates are malformed, in the wrong order or outside the partitions.
        UnknownSlice: there is no such tenant or platform.
    """
    dates = requested_dates(start, end)
    database_url = load_database_settings().database_url.get_secret_value()
    migrate.check(database_url)
    with connect(database_url) as connection:
        scope = resolve_scope(connection, tenant, [platform] if platform else [], [])
        table = ASSET_METRICS if assets else CAMPAIGN_METRICS
        rows = MetricRows(dates[0], dates[-1], scope.tenant_id, scope.platforms, group_by, table)
        arrow = pa.Table.from_batches(rows.batches(connection), rows.schema)
    frame: pd.DataFrame = arrow.to_pandas(types_mapper=pd.ArrowDtype)
    return frame
