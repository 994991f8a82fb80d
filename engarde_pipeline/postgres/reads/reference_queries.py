"""The API's queries of what a request refers to: its tenant, campaign spaces, assets and platform (rule 11)."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from engarde_pipeline.postgres.reads.metrics_queries import Statement

# The views in engarde_api have only the rows of the tenant that the transaction has set.
_CAMPAIGNS = sql.SQL("SELECT id, platform FROM engarde_api.campaign_spaces WHERE id = ANY(%(ids)s)")
_ASSETS = sql.SQL("SELECT id FROM engarde_api.campaign_assets WHERE id = ANY(%(ids)s)")
# A platform can have metrics but no campaign space, after a campaign space has changed its platform.
_PLATFORM = sql.SQL("""
SELECT %(platform)s AS platform
WHERE EXISTS (SELECT FROM engarde_api.campaign_spaces WHERE platform = %(platform)s)
   OR EXISTS (SELECT FROM platform_days WHERE tenant_id = %(tenant_id)s AND platform = %(platform)s)
""")
_TENANT = sql.SQL("SELECT id, name FROM engarde_api.tenants")


def campaigns(ids: Sequence[UUID]) -> Statement:
    """Return the statement for the `id` and `platform` of those campaign spaces that belong to the tenant."""
    return _CAMPAIGNS, {"ids": list(ids)}


def assets(ids: Sequence[UUID]) -> Statement:
    """Return the statement for the `id` of those assets that belong to the tenant."""
    return _ASSETS, {"ids": list(ids)}


def platform_of(tenant_id: UUID, platform: str) -> Statement:
    """Return the statement for a platform: one row if the tenant has campaign spaces or metrics on it."""
    return _PLATFORM, {"tenant_id": tenant_id, "platform": platform}


def the_tenant() -> Statement:
    """Return the statement for the `id` and `name` of the tenant itself: no row if it does not exist."""
    return _TENANT, {}
