"""The privileges on each table that a sync and the exporter need; deploy/postgres-role.sql grants the former."""

from engarde_pipeline.postgres.schema.migrate import VERSION_TABLE

PRIVILEGES = {
    VERSION_TABLE: ("SELECT",),
    "tenants": ("SELECT",),
    "campaign_spaces": ("SELECT", "UPDATE"),
    "campaign_assets": ("SELECT",),
    "campaign_metrics": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "campaign_asset_metrics": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "rejected_metric_rows": ("SELECT", "INSERT", "UPDATE"),
    "campaign_space_months": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "campaign_space_sums": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "bigquery_usage": ("SELECT", "INSERT", "UPDATE"),
    "platform_days": ("SELECT", "INSERT", "DELETE"),
    "asset_platform_days": ("SELECT", "INSERT", "DELETE"),
    "metric_blocks": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "metric_block_sums": ("SELECT", "INSERT", "DELETE"),
    "due_blocks": ("SELECT", "INSERT", "DELETE"),
    "synced_dates": ("SELECT", "INSERT", "UPDATE"),
    "held_dates": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "source_keys": ("SELECT", "INSERT", "UPDATE"),
    "removed_rows": ("SELECT", "INSERT", "DELETE"),
    "changed_dates": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}

EXPORTER_PRIVILEGES = {
    "bigquery_usage": "SELECT",
    "synced_dates": "SELECT",
    "held_dates": "SELECT (table_name, metric_date)",
    "rejected_metric_rows": "SELECT (table_name, metric_date, reason_code, resolved_at)",
}
"""No column with an id, a name or a number of a tenant."""
