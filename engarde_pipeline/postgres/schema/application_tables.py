"""The application's tables as the pipeline reads them, whatever types their columns have.

Each table is a subquery for a FROM clause; the planner makes it part of the statement, and rows are found by the
table's indexes as before. Platforms and external ids are text there, whether the column is varchar, char, citext,
an enum or a number.

`is_deleted` says whether the application keeps the row as deleted: it has a `deleted_at`, or a true `is_deleted`.
A table need not have these columns: a name that the inner query does not find is one of `absent`.
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

# In the database's own collation: an application's collation may take for equal what differs in case.
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
"""How many rows of a group can be meant: those that are not deleted, or, where all are, all of them."""

MATCH: LiteralString = """
coalesce((array_agg(id) FILTER (WHERE NOT is_deleted))[1], (array_agg(id) FILTER (WHERE is_deleted))[1])
"""
"""The id of the row that is meant, where it is one."""
