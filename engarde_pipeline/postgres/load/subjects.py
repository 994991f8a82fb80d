"""Subjects: resolves the staged keys to the tenants, campaign spaces and assets of the application.

This creates the temporary table `subjects`, with one row per staged key: `record_key` (the lowest number of the
keys of the same record, because a tenant id may be spelled in several ways, and a record can have another currency
on another date), `tenant_key` (the tenant in BigQuery, or the one found through the campaign), `tenant_id`,
`target_id`, `storage_order` (that of new rows: those of a tenant together), `currency`, and `reason`, NULL where
the key is good.
"""

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import ASSET_ID, TENANT_ID, MetricTable, RejectReason
from engarde_pipeline.postgres.schema.application_tables import CAMPAIGN_ASSETS, CAMPAIGN_SPACES, MATCH, MATCHES
from engarde_pipeline.postgres.sql_lists import sql_list

# Rows without a tenant get the only tenant that has their campaign; NULL if there is none or more than one.
_NAMED = """
WITH owner AS MATERIALIZED (
    SELECT platform, external_campaign_id AS campaign_id,
           coalesce(nullif(count(DISTINCT tenant_id) FILTER (WHERE NOT is_deleted), 0),
                    count(DISTINCT tenant_id)) AS tenants,
           coalesce(min(tenant_id::text) FILTER (WHERE NOT is_deleted), min(tenant_id::text)) AS tenant_key
    FROM {campaign_spaces} c
    WHERE {tenant_is_optional}
    GROUP BY 1, 2
), spelled AS (
    SELECT s.key_number,
           coalesce(lower(s.tenant_id), CASE WHEN owner.tenants = 1 THEN owner.tenant_key END) AS tenant_key,
           {keys},
           s.currency,
           s.key_fault,
           coalesce(owner.tenants > 1, false) AS is_ambiguous
    FROM staged_keys s
    LEFT JOIN owner
        ON s.tenant_id IS NULL AND owner.platform = s.platform AND owner.campaign_id = s.campaign_id
), named AS MATERIALIZED (
    SELECT key_number, min(key_number) OVER same AS record_key, tenant_key, {names}, currency,
           min(key_fault) OVER same AS key_fault, is_ambiguous
    FROM spelled
    WINDOW same AS (PARTITION BY tenant_key, {names})
)
"""

# External ids are not unique in the application's tables, so matches are counted first, which also prevents
# joining a record twice. Rows that the application marked as deleted count only if all matches are deleted.
_RESOLVED = """
, campaign AS MATERIALIZED (
    SELECT tenant_id, platform, external_campaign_id AS campaign_id,
           {matches} AS matches, {match} AS id
    FROM {campaign_spaces} c
    WHERE external_campaign_id IN (SELECT campaign_id FROM named)
    GROUP BY 1, 2, 3
), asset AS MATERIALIZED (
    SELECT campaign_space_id, external_asset_id AS asset_id,
           {matches} AS matches, {match} AS id
    FROM {campaign_assets} a
    WHERE {has_assets} AND external_asset_id IN (SELECT {asset_id} FROM named r)
    GROUP BY 1, 2
), resolved AS (
    SELECT r.*,
           tenants.id AS tenant_id,
           campaign.matches AS campaign_matches,
           CASE WHEN campaign.matches = 1 THEN campaign.id END AS campaign_space_id,
           asset.matches AS asset_matches,
           CASE WHEN asset.matches = 1 THEN asset.id END AS campaign_asset_id
    FROM named r
    LEFT JOIN tenants ON tenants.id::text = r.tenant_key
    LEFT JOIN campaign
        ON campaign.tenant_id = tenants.id
        AND campaign.platform = r.platform
        AND campaign.campaign_id = r.campaign_id
    LEFT JOIN asset
        ON campaign.matches = 1
        AND asset.campaign_space_id = campaign.id
        AND asset.asset_id = {asset_id}
)
"""

# The first reason that applies is recorded.
_SUBJECTS = """
SELECT r.*, r.{target_id} AS target_id, row_number() OVER (ORDER BY r.tenant_id, r.{target_id}) AS storage_order,
       CASE
           WHEN {null_key} THEN {NULL_KEY}
           WHEN r.key_fault IS NOT NULL THEN r.key_fault
           WHEN r.tenant_key IS NULL AND r.is_ambiguous THEN {AMBIGUOUS_TENANT}
           WHEN r.tenant_key IS NULL THEN {CAMPAIGN_NOT_MAPPED}
           WHEN r.tenant_id IS NULL AND r.tenant_key !~ {uuid} THEN {MALFORMED_TENANT}
           WHEN r.tenant_id IS NULL THEN {UNKNOWN_TENANT}
           WHEN r.campaign_matches IS NULL THEN {CAMPAIGN_NOT_MAPPED}
           WHEN r.campaign_matches > 1 THEN {AMBIGUOUS_CAMPAIGN}
           WHEN {has_assets} AND r.asset_matches IS NULL THEN {ASSET_NOT_MAPPED}
           WHEN r.asset_matches > 1 THEN {AMBIGUOUS_ASSET}
       END AS reason
FROM resolved r
"""

_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_REASONS = {reason.name: sql.Literal(str(reason)) for reason in RejectReason}


def create_subjects(connection: psycopg.Connection, table: MetricTable) -> None:
    """Replace the temporary table `subjects`."""
    connection.execute("DROP TABLE IF EXISTS pg_temp.subjects")
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE subjects AS {}").format(_subjects(table)))
    connection.execute("ANALYZE subjects")


def _subjects(table: MetricTable) -> sql.Composed:
    keys = [key for key in table.key_names if key != "tenant_id"]
    has_assets = ASSET_ID in table.keys
    return sql.SQL(_NAMED + _RESOLVED + _SUBJECTS).format(
        campaign_spaces=sql.SQL(CAMPAIGN_SPACES),
        campaign_assets=sql.SQL(CAMPAIGN_ASSETS),
        matches=sql.SQL(MATCHES),
        match=sql.SQL(MATCH),
        tenant_is_optional=sql.Literal(TENANT_ID not in table.keys),
        keys=sql_list("s.{name}", keys),
        names=sql_list("{name}", keys),
        has_assets=sql.Literal(has_assets),
        asset_id=sql.SQL("r.asset_id") if has_assets else sql.SQL("NULL::text"),
        target_id=sql.Identifier(table.target_id),
        null_key=sql_list("r.{name} IS NULL", _required_keys(table), " OR "),
        uuid=sql.Literal(_UUID),
        **_REASONS,
    )


def _required_keys(table: MetricTable) -> list[str]:
    return ["tenant_key" if key is TENANT_ID else key.name for key in table.keys if key.required]
