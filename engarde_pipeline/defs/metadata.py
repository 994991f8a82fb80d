"""Dagster metadata: table schemas, column lineage and the metadata of a synced date."""

from dataclasses import fields
from typing import Any

from dagster import (
    AssetKey,
    MetadataValue,
    TableColumn,
    TableColumnDep,
    TableColumnLineage,
    TableRecord,
    TableSchema,
)

from engarde_pipeline.core.currencies import published, subtract
from engarde_pipeline.core.metrics import (
    CAMPAIGN_METRICS,
    CTR,
    CURRENCY,
    METRIC_DATE,
    ROAS,
    Measure,
    MetricTable,
    Ratio,
)
from engarde_pipeline.postgres.load.changes import CampaignChange
from engarde_pipeline.postgres.load.merge import MergedDate
from engarde_pipeline.postgres.load.rejected import RejectedRow
from engarde_pipeline.runs.history import ALLOWED, BYTES_READ, LARGEST_CHANGES
from engarde_pipeline.sync.dates import SyncedDate

_TYPES = {"count": "bigint", "amount": "numeric(38, 6)"}
_DATE_DESCRIPTION = "The date, in the ad account's time zone."


def source_key(table: MetricTable) -> AssetKey:
    """Return the asset key of a BigQuery table."""
    return AssetKey(f"bigquery_{table.source}")


def source_schema(table: MetricTable) -> TableSchema:
    """Return the columns read from BigQuery."""
    descriptions = {
        METRIC_DATE: _DATE_DESCRIPTION,
        **{key.name: key.description for key in table.dimensions},
        **{measure.name: measure.description for measure in table.measures},
    }
    types = _source_types(table)
    return TableSchema([TableColumn(name, types[name], text) for name, text in descriptions.items()])


def _source_types(table: MetricTable) -> dict[str, str]:
    """Return the type of each column that is read from BigQuery."""
    return {
        METRIC_DATE: "DATE",
        **{key.name: key.bigquery_type for key in table.dimensions},
        **{m.name: "INT64" if m.kind == "count" else "FLOAT64 or NUMERIC" for m in table.measures},
    }


def target_schema(table: MetricTable) -> TableSchema:
    """Return the columns written to Postgres; each description ends with the columns in BigQuery it comes from."""
    subject = "campaign space" if table is CAMPAIGN_METRICS else "campaign asset"
    hour = [("metric_hour", "smallint", "The hour, 0 to 23, or NULL for the whole day.")]
    columns = [
        ("tenant_id", "uuid", "The tenant."),
        (table.target_id, "uuid", f"The {subject}."),
        ("platform", "text", "The ad platform."),
        (METRIC_DATE, "date", _DATE_DESCRIPTION),
        *(hour if table is CAMPAIGN_METRICS else []),
        *((measure.name, _TYPES[measure.kind], measure.description) for measure in table.measures),
        *(
            (
                ratio.name,
                "numeric",
                f"{ratio.description} {ratio.factor} * {ratio.numerator} / {ratio.denominator}"
                f" ({ratio.unit}); NULL where {ratio.denominator} is zero.",
            )
            for ratio in table.ratios
        ),
        ("currency", "text", CURRENCY.description),
        ("bigquery_sync_id", "uuid", "The Dagster run that last changed the row."),
        ("synced_from_bigquery_at", "timestamptz", "When the row was last changed."),
    ]
    types, origins = _source_types(table), _origins(table)
    return TableSchema(
        [
            TableColumn(name, kind, f"{text} {_origin(origins.get(name, []), types, table.source)}".strip())
            for name, kind, text in columns
        ]
    )


def totals_schema() -> TableSchema:
    """Return the columns of `campaign_spaces` that the totals are written to."""
    return TableSchema(
        [
            *(_total_column(measure) for measure in CAMPAIGN_METRICS.measures),
            _total_ratio("avg_ctr", CTR, "100 * total_clicks / total_impressions, from the sums (percent)."),
            _total_ratio("avg_roas", ROAS, "total_revenue / total_spend, from the sums (factor)."),
            TableColumn("performance_last_updated", "timestamptz", "When a total last changed."),
        ]
    )


def target_lineage(table: MetricTable) -> TableColumnLineage:
    """Return which BigQuery columns each Postgres column comes from."""
    source = source_key(table)
    return _lineage({column: [(source, name) for name in names] for column, names in _origins(table).items()})


def _origins(table: MetricTable) -> dict[str, list[str]]:
    """Return the names of the BigQuery columns that each Postgres column comes from."""
    external_ids = [name for name in table.key_names if name != "metric_hour"]
    return {
        "tenant_id": [name for name in ("tenant_id", "campaign_id", "platform") if name in table.key_names],
        table.target_id: external_ids,
        "platform": ["platform"],
        METRIC_DATE: [METRIC_DATE],
        **({"metric_hour": ["metric_hour"]} if "metric_hour" in table.key_names else {}),
        **{name: [name] for name in (CURRENCY.name, *table.measure_names)},
        **{ratio.name: [ratio.numerator, ratio.denominator] for ratio in table.ratios},
    }


def _origin(names: list[str], types: dict[str, str], table: str) -> str:
    # The open-source version of Dagster does not show the column lineage.
    columns = ", ".join(f"{name} ({types[name]})" for name in names)
    return f"From {table} in BigQuery: {columns}." if names else ""


def totals_lineage() -> TableColumnLineage:
    """Return which columns of `campaign_metrics` each total comes from."""
    metrics = AssetKey(CAMPAIGN_METRICS.target)
    return _lineage(
        {
            **{f"total_{name}": [(metrics, name)] for name in CAMPAIGN_METRICS.measure_names},
            "avg_ctr": [(metrics, CTR.numerator), (metrics, CTR.denominator)],
            "avg_roas": [(metrics, ROAS.numerator), (metrics, ROAS.denominator)],
        }
    )


def date_metadata(synced: SyncedDate, is_provisional: bool) -> dict[str, Any]:
    """Return the metadata of a date's materialization; Dagster plots the numeric values by date."""
    return {
        **sync_metadata(synced, is_provisional),
        "dagster/partition_row_count": synced.merged.rows,
    }


def changes_metadata(merged: MergedDate) -> dict[str, Any]:
    """Return what the sync of a date, or of a slice of it, did: counts, sums before and after, largest changes."""
    changes = merged.changes
    if changes is None:  # no rows before
        before = {}
    else:
        before = {
            **published("spend_before", changes.spend_before),
            **published("revenue_before", changes.revenue_before),
            **published("spend_change", subtract(merged.spend, changes.spend_before)),
            **published("revenue_change", subtract(merged.revenue, changes.revenue_before)),
        }
    return {
        **({ALLOWED: ", ".join(merged.allowed)} if merged.allowed else {}),
        **merged.counts.published,
        **published("spend", merged.spend),
        **published("revenue", merged.revenue),
        **before,
        **({LARGEST_CHANGES: changes_table(changes.largest)} if changes and changes.largest else {}),
        **(published("rejected_spend", merged.rejected_spend) if merged.counts.rejected else {}),
        **({"rejected_records": rejects_table(merged.rejected)} if merged.rejected else {}),
    }


def sync_metadata(synced: SyncedDate, is_provisional: bool) -> dict[str, Any]:
    """Return what the sync or dry run of a date did, and what it cost."""
    return {
        **changes_metadata(synced.merged),
        "provisional": is_provisional,
        BYTES_READ: synced.bytes_read,
        "bigquery_read_method": synced.method,
        "seconds_reading": round(synced.seconds_reading, 3),
        "seconds_merging": round(synced.seconds_merging, 3),
    }


def changes_table(changes: list[CampaignChange]) -> MetadataValue[Any]:
    """Return the largest changes by campaign as a table."""
    names = [field.name for field in fields(CampaignChange)]
    return MetadataValue.table(
        records=[TableRecord({name: str(getattr(change, name)) for name in names}) for change in changes],
        schema=TableSchema([TableColumn(name) for name in names]),
    )


def rejects_table(rejected: list[RejectedRow]) -> MetadataValue[Any]:
    """Return rejected records as a table."""
    return MetadataValue.table(
        records=[
            TableRecord(
                {
                    "reason": row.reason_code,
                    "record": ", ".join(f"{key}={value}" for key, value in row.keys.items() if value is not None),
                    "what_to_do": row.reason,
                    "currency": row.currency or "",
                    "measures": ", ".join(f"{name}={value}" for name, value in row.measures.items()),
                }
            )
            for row in rejected
        ],
        schema=TableSchema(
            [TableColumn(name) for name in ("reason", "record", "what_to_do", "currency", "measures")]
        ),
    )


def _total_column(measure: Measure) -> TableColumn:
    several = " NULL if the rows have several currencies." if measure.is_money else ""
    return TableColumn(
        f"total_{measure.name}",
        _TYPES[measure.kind],
        f"Sum over all dates. {measure.description}{several} From {CAMPAIGN_METRICS.target}: {measure.name}.",
    )


def _total_ratio(name: str, ratio: Ratio, description: str) -> TableColumn:
    origin = f"From {CAMPAIGN_METRICS.target}: {ratio.numerator}, {ratio.denominator}."
    return TableColumn(name, "numeric", f"{description} {origin}")


def _lineage(origins: dict[str, list[tuple[AssetKey, str]]]) -> TableColumnLineage:
    return TableColumnLineage(
        {
            column: [TableColumnDep(asset_key=key, column_name=name) for key, name in deps]
            for column, deps in origins.items()
        }
    )
