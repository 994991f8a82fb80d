"""Finds rejected records whose missing tenant, campaign or asset has been added to the application."""

from datetime import date

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import MetricTable, RejectReason
from engarde_pipeline.postgres.schema.application_tables import CAMPAIGN_ASSETS, CAMPAIGN_SPACES, MATCHES

# This only finds the dates to sync again; the sync decides whether the records can be loaded.
_MAPPED = """
SELECT j.metric_date, array_agg(j.id::text)
FROM rejected_metric_rows j
WHERE j.table_name = %(table)s
  AND j.resolved_at IS NULL
  AND CASE j.reason_code
          WHEN %(unknown_tenant)s THEN EXISTS (
              SELECT FROM tenants t WHERE t.id::text = j.keys ->> 'tenant_id'
          )
          WHEN %(campaign_not_mapped)s THEN EXISTS ({campaigns})
          WHEN %(ambiguous_campaign)s THEN (SELECT {matches} FROM ({campaigns}) campaigns) = 1
          WHEN %(asset_not_mapped)s THEN EXISTS ({assets})
          WHEN %(ambiguous_asset)s THEN (SELECT {matches} FROM ({assets}) assets) = 1
      END
GROUP BY j.metric_date
"""

_CAMPAIGNS = """
SELECT c.is_deleted
FROM {campaign_spaces} c
WHERE c.external_campaign_id = j.keys ->> 'campaign_id'
  AND c.platform = j.keys ->> 'platform'
  AND c.tenant_id::text = coalesce(j.keys ->> 'tenant_id', c.tenant_id::text)
"""

_ASSETS = """
SELECT a.is_deleted
FROM {campaign_assets} a
JOIN {campaign_spaces} c ON c.id = a.campaign_space_id
WHERE a.external_asset_id = j.keys ->> 'asset_id'
  AND c.external_campaign_id = j.keys ->> 'campaign_id'
  AND c.platform = j.keys ->> 'platform'
  AND c.tenant_id::text = coalesce(j.keys ->> 'tenant_id', c.tenant_id::text)
"""


def mapped_rejections(connection: psycopg.Connection, table: MetricTable) -> dict[date, list[str]]:
    """Return, by date, the ids of open rejected records whose tenant, campaign or asset now exists, or is
    no longer ambiguous."""
    reasons = {
        "unknown_tenant": RejectReason.UNKNOWN_TENANT,
        "campaign_not_mapped": RejectReason.CAMPAIGN_NOT_MAPPED,
        "ambiguous_campaign": RejectReason.AMBIGUOUS_CAMPAIGN,
        "asset_not_mapped": RejectReason.ASSET_NOT_MAPPED,
        "ambiguous_asset": RejectReason.AMBIGUOUS_ASSET,
    }
    values = {"table": table.source, **{name: str(reason) for name, reason in reasons.items()}}
    tables = {"campaign_spaces": sql.SQL(CAMPAIGN_SPACES), "campaign_assets": sql.SQL(CAMPAIGN_ASSETS)}
    statement = sql.SQL(_MAPPED).format(
        matches=sql.SQL(MATCHES),
        campaigns=sql.SQL(_CAMPAIGNS).format(**tables),
        assets=sql.SQL(_ASSETS).format(**tables),
    )
    return dict(connection.execute(statement, values).fetchall())
