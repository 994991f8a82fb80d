"""Checks that the tenant, campaigns and platform of a request exist; the same for reads and syncs."""

from collections.abc import Sequence
from uuid import UUID

from engarde_pipeline.api.database import Database, Row
from engarde_pipeline.api.dependencies import DatabaseDep
from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.postgres.reads.metrics_queries import Statement, campaigns, platform_of, the_tenant


async def check_and_execute(
    database: Database,
    tenant_id: UUID,
    campaign_space_ids: Sequence[UUID],
    platform: str | None,
    *statements: Statement,
) -> tuple[list[Row], list[list[Row]]]:
    """Check what a request refers to, and execute its statements in the same round trip.

    Returns:
        The campaign spaces with their platforms, and the rows of each statement.

    Raises:
        Problem: 403, the tenant does not exist; 404, it has no such campaign space; 422, it has nothing on this
            platform; 503, Postgres does not respond in time.
    """
    tenant, found, on_platform, *rows = await database.execute(
        tenant_id,
        the_tenant(),
        campaigns(campaign_space_ids),
        platform_of(tenant_id, platform or ""),
        *statements,
    )
    if not tenant:
        raise Problem(403, "The tenant in the token does not exist.")
    known = {row["id"] for row in found}
    if unknown := [str(campaign) for campaign in campaign_space_ids if campaign not in known]:
        raise Problem(404, f"These campaign spaces do not exist: {', '.join(unknown)}.")
    if platform and not on_platform:
        raise invalid("platform", f"the tenant has no campaign spaces or metrics on {platform!r}")
    return found, rows


async def check_tenant(caller: CurrentCaller, database: DatabaseDep) -> None:
    """Check that the caller's tenant exists.

    Raises:
        Problem: 403, it does not; 503, Postgres does not respond in time.
    """
    await check_and_execute(database, caller.tenant_id, [], None)
