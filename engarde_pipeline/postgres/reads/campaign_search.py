"""The page's queries of the campaigns that a sync can be limited to (rule 11)."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from engarde_pipeline.postgres.reads.metrics_queries import Statement

# The views in engarde_api have only the rows of the tenant that the transaction has set. A tenant has thousands of
# campaigns at most, so they are read one by one.
_MATCHING = sql.SQL("""
SELECT id, name, platform, external_campaign_id, count(*) OVER () AS total
FROM engarde_api.campaign_spaces
WHERE (%(platform)s::text IS NULL OR platform = %(platform)s)
  AND id <> ALL(%(without)s)
  AND (strpos(lower(name), lower(%(text)s)) > 0
       OR strpos(lower(external_campaign_id), lower(%(text)s)) > 0
       OR %(text)s = '')
ORDER BY lower(name), platform, id
LIMIT %(limit)s
""")

_NAMED = sql.SQL("""
SELECT id, name, platform, external_campaign_id
FROM engarde_api.campaign_spaces
WHERE id = ANY(%(ids)s)
ORDER BY lower(name), platform, id
""")

_PLATFORMS = sql.SQL("""
SELECT DISTINCT platform FROM engarde_api.campaign_spaces WHERE platform IS NOT NULL ORDER BY platform
""")


def matching_campaigns(text: str, platform: str | None, without: Sequence[UUID], limit: int) -> Statement:
    """Return the statement for the campaigns with `text` in their name or external id, except some.

    Each row has `total`, the number of all of them.
    """
    return _MATCHING, {"text": text, "platform": platform, "without": list(without), "limit": limit}


def named_campaigns(ids: Sequence[UUID]) -> Statement:
    """Return the statement for those campaigns that belong to the tenant, with their names."""
    return _NAMED, {"ids": list(ids)}


def platforms() -> Statement:
    """Return the statement for the platforms of the tenant's campaigns."""
    return _PLATFORMS, {}
