"""The two BigQuery source tables as external assets; the pipeline only reads them."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from dagster import AssetMaterialization, AssetSpec, FreshnessPolicy, MetadataValue

from engarde_pipeline.bigquery.changes import Versions, modified_at
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.dagster_internals import DATA_VERSION_TAG
from engarde_pipeline.defs.metadata import source_key, source_schema
from engarde_pipeline.runs.requests import described
from engarde_pipeline.sync.plan import PlannedDate

GROUP = "performance"
OWNERS = ["team:marketing-data"]

_LOADED_DAILY = FreshnessPolicy.time_window(warn_window=timedelta(hours=30), fail_window=timedelta(hours=54))
"""Ad platforms' numbers are loaded every day. A table without a change for longer lacks a day, or two.

The metric tables in Postgres have no such policy: they are not materialized again while the source is unchanged.
"""


def _source(table: MetricTable, description: str) -> AssetSpec:
    return AssetSpec(
        source_key(table),
        description=description,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"bigquery", "table"},
        tags={"layer": "source"},
        metadata={"dagster/column_schema": source_schema(table)},
        freshness_policy=_LOADED_DAILY,
    )


bigquery_campaign_metrics = _source(
    CAMPAIGN_METRICS,
    "The ad platforms' daily metrics per campaign, as loaded into BigQuery. A campaign can have several rows per"
    " date (ad sets, regions). Ad platforms restate the last 7 to 30 days. A materialization is recorded when a"
    " change in BigQuery is found, and the table counts as late if there was none for 54 hours.",
)

bigquery_asset_metrics = _source(
    ASSET_METRICS,
    "The ad platforms' daily metrics per creative. The table is optional. If it has no column tenant_id, the"
    " tenant is that of the campaign. A materialization is recorded when a change in BigQuery is found, and the"
    " table counts as late if there was none for 54 hours.",
)


def data_version(table: SourceTable, versions: Versions) -> str:
    """Return the data version of a source table, which changes when one of its partitions does."""
    return table.state or sha256(repr(sorted(versions.by_date.items())).encode()).hexdigest()[:16]


def updated(table: SourceTable, versions: Versions, due: Sequence[PlannedDate]) -> AssetMaterialization:
    """Return the event of a source table that has changed in BigQuery, with its dates that are due."""
    rows = sum(versions.rows_by_date.values())
    modified = max(filter(None, map(modified_at, versions.by_date.values())), default=None)
    dates = f"Dates to sync: {described(due)}." if due else "No date has to be synced."
    return AssetMaterialization(
        asset_key=source_key(table.metric_table),
        description=f"Changed{f' at {modified:%Y-%m-%d %H:%M} UTC' if modified else ''}. {dates}",
        metadata={
            **({"dagster/row_count": rows} if versions.rows_by_date else {}),
            **({"dagster/last_updated_timestamp": MetadataValue.timestamp(modified)} if modified else {}),
            "dates_due": len(due),
        },
        tags={DATA_VERSION_TAG: data_version(table, versions)},
    )
