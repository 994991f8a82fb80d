"""Subqueries that read the application's tables, whatever the types of their columns.

Each is used in a FROM clause; the planner inlines it, so that the indexes of the table are used. Platforms and
external ids are converted to text, whether the column is varchar, char, citext, an enum or a number.

`is_deleted` is true for a soft-deleted row: one with a `deleted_at` or a true `is_deleted`. These columns are
optional: if the table has none of that name, the name refers to `absent`.
"""

from typing import LiteralString

_READ: LiteralString = """(
    SELECT present.*
    FROM (SELECT NULL::timestamptz AS deleted_at, NULL::boolean AS is_deleted) AS absent
    CROSS JOIN LATERAL (
        SELECT {columns},
               deleted_at IS NOT NULL OR coalesce(is_deleted::text IN ('true', '1'), false) AS is_deleted
        FROM {table}
    ) AS present
)"""

# In the database's default collation, because the application's may be case-insensitive.
_TEXT: LiteralString = '{name}::text COLLATE "default" AS {name}'
_PLATFORM = _TEXT.replace("{name}", "platform")
_CAMPAIGN_ID = _TEXT.replace("{name}", "external_campaign_id")
_ASSET_ID = _TEXT.replace("{name}", "external_asset_id")

CAMPAIGN_SPACES: LiteralString = _READ.replace("{table}", "campaign_spaces").replace(
    "{columns}", f"id, tenant_id, {_PLATFORM}, {_CAMPAIGN_ID}"
)

CAMPAIGN_ASSETS: LiteralString = _READ.replace("{table}", "campaign_assets").replace(
    "{columns}", f"id, campaign_space_id, {_ASSET_ID}"
)

MATCHES: LiteralString = """
coalesce(nullif(count(*) FILTER (WHERE NOT is_deleted), 0), count(*) FILTER (WHERE is_deleted))
"""
"""The number of matching rows in a group: those that are not deleted or, if all are deleted, all of them."""

MATCH: LiteralString = """
coalesce((array_agg(id) FILTER (WHERE NOT is_deleted))[1], (array_agg(id) FILTER (WHERE is_deleted))[1])
"""
"""The id of the matching row, if there is only one."""
