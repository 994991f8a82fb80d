"""What a request names must exist and be the tenant's own: reads and syncs answer alike."""

from collections.abc import Sequence
from uuid import UUID

from engarde_pipeline.api.database import Database, Row
from engarde_pipeline.api.dependencies import Postgres
from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.api.tokens import Authenticated
from engarde_pipeline.postgres.reads.metrics_queries import Statement, campaigns, platform_of, the_tenant


async def ask_about(
    postgres: Database,
    tenant_id: UUID,
    campaign_space_ids: Sequence[UUID],
    platform: str | None,
    *statements: Statement,
) -> tuple[list[Row], list[list[Row]]]:
    """Return the campaigns that are named, and the rows of each statement, asked in the same round trip.

    Raises:
        Problem: 403, the tenant does not exist; 404, it has no such campaign; 422, it has nothing on this
            platform; 503, Postgres does not answer in time.
    """
    tenant, found, on_platform, *rows = await postgres.ask(
        tenant_id,
        the_tenant(),
        campaigns(campaign_space_ids),
        platform_of(tenant_id, platform or ""),
        *statements,
    )
    if not tenant:
        raise Problem(403, "The token's tenant does not exist.")
    known = {row["id"] for row in found}
    if unknown := [str(campaign) for campaign in campaign_space_ids if campaign not in known]:
        raise Problem(404, f"There is no campaign space {', '.join(unknown)}.")
    if platform and not on_platform:
        raise invalid("platform", f"no campaign space is on {platform!r}")
    return found, rows


async def existing_tenant(caller: Authenticated, postgres: Postgres) -> None:
    """Check that the caller's tenant exists.

    Raises:
        Problem: 403, it does not; 503, Postgres does not answer in time.
    """
    await ask_about(postgres, caller.tenant_id, [], None)
