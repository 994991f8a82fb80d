"""Putting the sample data where the pipeline expects it: metrics in BigQuery, what they are about in Postgres."""

from collections.abc import Callable, Collection, Iterable
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import psycopg
import pyarrow as pa
from google.cloud import bigquery
from pyarrow import parquet

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, METRIC_DATE, MetricTable
from engarde_pipeline.local.sample_campaigns import TENANTS, Asset, Campaign, Tenant, campaigns
from engarde_pipeline.local.sample_rows import arrow_schema, asset_rows, campaign_rows, expected_spend

__all__ = [
    "DAYS",
    "TENANTS",
    "Asset",
    "Campaign",
    "Tenant",
    "asset_rows",
    "campaign_rows",
    "campaigns",
    "fill_bigquery",
    "restate",
    "seed_postgres",
]

DAYS = 90
"""How many dates, today's included, the sample data reaches back."""

# The client's own patience with a server that is gone is ten minutes.
_SECONDS = 120.0
_LIMITS: dict[str, Any] = {"timeout": _SECONDS, "retry": bigquery.DEFAULT_RETRY.with_timeout(30.0)}
_TABLES: tuple[tuple[MetricTable, Callable[..., pa.Table]], ...] = (
    (CAMPAIGN_METRICS, campaign_rows),
    (ASSET_METRICS, asset_rows),
)


def fill_bigquery(client: bigquery.Client, dataset: str, today: date) -> list[date]:
    """Load the sample metrics of the last 90 dates, as far as they are not there yet.

    Today is loaded as the first part of a day, and loaded again whole once it is past. The dataset and
    its two tables are created where they are missing; a date's rows are replaced in one statement.

    Returns:
        The dates loaded, ascending; none when everything was there.
    """
    _create_dataset(client, dataset)
    window = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    loaded: set[date] = set()
    for table, make in _TABLES:
        _create_table(client, dataset, table)
        whole = _dates_held(client, dataset, table)
        due = [day for day in window if day not in whole or not (whole[day] or day == today)]
        if due:
            _replace(client, dataset, table, make(due, partial=[today]), due)
            loaded.update(due)
    return sorted(loaded)


def restate(client: bigquery.Client, dataset: str, dates: Collection[date]) -> None:
    """Replace the rows of `dates` as the platforms do when they correct them: other spend, late conversions,
    one campaign gone, wrong rows put right. What was part of a day stays one.
    """
    for table, make in _TABLES:
        whole = _dates_held(client, dataset, table)
        partial = [day for day in dates if not whole.get(day, True)]
        _replace(client, dataset, table, make(dates, restated=True, partial=partial), dates)


def seed_postgres(connection: psycopg.Connection) -> None:
    """Insert the sample tenants, campaign spaces and assets that are missing, in one transaction."""
    spaces = campaigns()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tenants (id, name) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING",
            [(tenant.id, tenant.name) for tenant in TENANTS],
        )
        cursor.executemany(
            "INSERT INTO campaign_spaces (id, tenant_id, name, platform, external_campaign_id)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [(c.id, c.tenant_id, c.name, c.platform, c.external_campaign_id) for c in spaces],
        )
        cursor.executemany(
            "INSERT INTO campaign_assets (id, tenant_id, campaign_space_id, external_asset_id, name)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [(a.id, c.tenant_id, c.id, a.external_asset_id, a.name) for c in spaces for a in c.assets],
        )


def _create_dataset(client: bigquery.Client, dataset: str) -> None:
    description = bigquery.Dataset(f"{client.project}.{dataset}")
    description.location = client.location or "US"
    client.create_dataset(description, exists_ok=True, **_LIMITS)


def _create_table(client: bigquery.Client, dataset: str, table: MetricTable) -> None:
    description = bigquery.Table(f"{client.project}.{dataset}.{table.source}", schema=_schema(table))
    description.description = "Sample data: daily numbers of invented campaigns."
    description.time_partitioning = bigquery.TimePartitioning(field=METRIC_DATE)
    description.clustering_fields = [key.name for key in table.keys if key.required]
    found = client.create_table(description, exists_ok=True, **_LIMITS)
    if {field.name for field in found.schema} != {field.name for field in description.schema}:
        # An earlier version has made it. All rows are loaded again.
        client.delete_table(found, **_LIMITS)
        client.create_table(description, **_LIMITS)


def _schema(table: MetricTable) -> list[bigquery.SchemaField]:
    meanings = {METRIC_DATE: "The date, in the ad account's own time zone."}
    meanings |= {key.name: key.description for key in table.dimensions}
    meanings |= {measure.name: measure.description for measure in table.measures}
    types = {pa.string(): "STRING", pa.date32(): "DATE", pa.int64(): "INT64", pa.float64(): "FLOAT64"}
    return [
        bigquery.SchemaField(column.name, types[column.type], description=meanings[column.name])
        for column in arrow_schema(table)
    ]


def _dates_held(client: bigquery.Client, dataset: str, table: MetricTable) -> dict[date, bool]:
    """Return the dates the table has rows for, and of each whether the day is whole."""
    query = client.query(
        f"SELECT {METRIC_DATE}, SUM(spend) FROM `{client.project}.{dataset}.{table.source}`"  # noqa: S608
        f" WHERE {METRIC_DATE} >= '2000-01-01' GROUP BY {METRIC_DATE}",
        **_LIMITS,
    )
    # Assets report some four fifths of what their campaigns spend, and part of a day is two fifths.
    return {day: (spend or 0) > 0.6 * expected_spend(day) for day, spend in query.result(**_LIMITS)}


def _replace(
    client: bigquery.Client, dataset: str, table: MetricTable, rows: pa.Table, dates: Iterable[date]
) -> None:
    # By way of a second table, so that one MERGE can replace the dates and no reader finds them empty.
    target = f"{client.project}.{dataset}.{table.source}"
    incoming = f"{target}_incoming"
    client.delete_table(incoming, not_found_ok=True, **_LIMITS)
    try:
        _load(client, incoming, rows, _schema(table))
        columns = ", ".join(rows.column_names)
        dates_in_sql = ", ".join(f"DATE '{day}'" for day in dates)
        client.query(
            f"MERGE `{target}` AS held USING `{incoming}` AS incoming ON FALSE"  # noqa: S608
            f" WHEN NOT MATCHED BY SOURCE AND held.{METRIC_DATE} IN ({dates_in_sql}) THEN DELETE"
            f" WHEN NOT MATCHED BY TARGET THEN INSERT ({columns}) VALUES ({columns})",
            **_LIMITS,
        ).result(**_LIMITS)
    finally:
        client.delete_table(incoming, not_found_ok=True, **_LIMITS)


def _load(client: bigquery.Client, target: str, rows: pa.Table, schema: list[bigquery.SchemaField]) -> None:
    # As a parquet file made by Arrow, in which NaN stays NaN, and without a size, since the emulator takes
    # nothing but resumable uploads.
    file = BytesIO()
    parquet.write_table(rows, file)
    file.seek(0)
    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET, schema=schema)
    client.load_table_from_file(file, target, job_config=config, timeout=_SECONDS).result(**_LIMITS)
