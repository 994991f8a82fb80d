"""Reasons for rejected keys that differ from a key of the application only in case or blanks.

This runs once per read, and only if a record was rejected. The keys stay rejected: two spellings may be two
campaigns, and the sync cannot know which one is right.
"""

from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import ASSET_ID, MetricTable, RejectReason

_ASCII_BLANKS = " \t\n\r\v\f"
_OTHER_BLANKS = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d"
_OTHER_BLANKS += "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"

# `translate` compares each character with each blank. Most keys are ASCII and need only the few ASCII blanks.
_FOLDED = """
lower(CASE WHEN octet_length({text}) = char_length({text}) THEN translate({text}, {ascii}, '')
           ELSE translate({text}, {all}, '') END)
"""

# Both sides are folded and compared by equality, so that 100,000 keys are one hash join. Only the campaigns of the
# affected tenants are folded, or all of them if a row has no tenant.
_SIMILAR = """
CREATE TEMPORARY TABLE similar_keys AS
WITH misspelled AS MATERIALIZED (
    SELECT key_number, reason, tenant_id::text AS tenant_id, campaign_space_id::text AS campaign_space_id,
           {fold_tenant} AS tenant_key, {fold_platform} AS platform, {fold_campaign} AS campaign_id,
           {fold_asset} AS asset_id
    FROM subjects s
    WHERE reason IN ({MALFORMED_TENANT}, {UNKNOWN_TENANT}, {CAMPAIGN_NOT_MAPPED}, {ASSET_NOT_MAPPED})
), campaign AS MATERIALIZED (
    SELECT c.tenant_id::text AS tenant_id, c.platform::text AS platform,
           c.external_campaign_id::text AS campaign_id
    FROM campaign_spaces c
    WHERE c.tenant_id::text IN (SELECT tenant_id FROM misspelled WHERE reason = {CAMPAIGN_NOT_MAPPED})
       OR EXISTS (SELECT FROM misspelled WHERE reason = {CAMPAIGN_NOT_MAPPED} AND tenant_id IS NULL)
), asset AS MATERIALIZED (
    SELECT a.campaign_space_id::text AS campaign_space_id, a.external_asset_id::text AS asset_id
    FROM campaign_assets a
    WHERE a.campaign_space_id::text IN (SELECT campaign_space_id FROM misspelled WHERE reason = {ASSET_NOT_MAPPED})
)
SELECT m.key_number AS record_key,
       'tenant_id differs only in case or blanks from that of the tenant ' || to_json(min(t.id::text))::text
       || '; correct the spelling in BigQuery.' AS sentence
FROM misspelled m
JOIN tenants t ON lower(t.id::text) = m.tenant_key
WHERE m.reason IN ({MALFORMED_TENANT}, {UNKNOWN_TENANT})
GROUP BY m.key_number
UNION ALL
SELECT m.key_number,
       'No campaign space has this platform and external campaign id, but one differs only in case or blanks:'
       || ' platform ' || min(to_json(c.platform)::text || ' and id ' || to_json(c.campaign_id)::text)
       || '; correct the spelling in BigQuery or in the application.'
FROM misspelled m
JOIN campaign c
    ON {fold_c_campaign} = m.campaign_id
    AND {fold_c_platform} = m.platform
    AND (m.tenant_id IS NULL OR c.tenant_id = m.tenant_id)
WHERE m.reason = {CAMPAIGN_NOT_MAPPED}
GROUP BY m.key_number
UNION ALL
SELECT m.key_number,
       'The campaign space has no asset with this external id, but one differs only in case or blanks: '
       || to_json(min(a.asset_id))::text || '; correct the spelling in BigQuery or in the application.'
FROM misspelled m
JOIN asset a ON {fold_a_asset} = m.asset_id AND a.campaign_space_id = m.campaign_space_id
WHERE m.reason = {ASSET_NOT_MAPPED}
GROUP BY m.key_number
"""


def create_similar_keys(connection: psycopg.Connection, table: MetricTable) -> None:
    """Replace the temporary table `similar_keys`: `record_key` and `sentence`, for keys of `subjects`."""
    # Blanks beyond ASCII cannot be sent to a database in some of the other encodings.
    is_utf8 = connection.info.parameter_status("server_encoding") == "UTF8"
    blanks = {"ascii": sql.Literal(_ASCII_BLANKS), "all": sql.Literal(_ASCII_BLANKS + _OTHER_BLANKS * is_utf8)}

    def fold(column: LiteralString) -> sql.Composed:
        return sql.SQL(_FOLDED).format(text=sql.SQL(column), **blanks)

    connection.execute("DROP TABLE IF EXISTS similar_keys")
    connection.execute(
        sql.SQL(_SIMILAR).format(
            fold_tenant=fold("s.tenant_key"),
            fold_platform=fold("s.platform"),
            fold_campaign=fold("s.campaign_id"),
            fold_asset=fold("s.asset_id" if ASSET_ID in table.keys else "NULL::text"),
            fold_c_campaign=fold("c.campaign_id"),
            fold_c_platform=fold("c.platform"),
            fold_a_asset=fold("a.asset_id"),
            **{reason.name: sql.Literal(str(reason)) for reason in RejectReason},
        )
    )
    connection.execute("ANALYZE similar_keys")
