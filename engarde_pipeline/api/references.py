"""Checks that the tenant, campaigns, assets and platform of a request exist; the same for reads and syncs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from engarde_pipeline.api.database import Database, Row
from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.postgres.reads.metrics_queries import Statement
from engarde_pipeline.postgres.reads.reference_queries import assets, campaigns, platform_of, the_tenant


@dataclass(frozen=True)
class References:
    """What a request refers to."""

    tenant_id: UUID
    campaign_space_ids: Sequence[UUID] = ()
    campaign_asset_ids: Sequence[UUID] = ()
    platform: str | None = None


async def check_and_execute(
    database: Database, references: References, *statements: Statement
) -> tuple[list[Row], list[list[Row]]]:
    """Check what a request refers to, and execute its statements in the same round trip.

    Returns:
        The campaign spaces with their platforms, and the rows of each statement.

    Raises:
        Problem: 403, the tenant does not exist; 404, it has no such campaign space or asset; 422, it has
            nothing on this platform; 503, Postgres does not respond in time.
    """
    checks = {"tenant": the_tenant()}
    if references.campaign_space_ids:
        checks["campaign spaces"] = campaigns(references.campaign_space_ids)
    if references.campaign_asset_ids:
        checks["assets"] = assets(references.campaign_asset_ids)
    if references.platform:
        checks["platform"] = platform_of(references.tenant_id, references.platform)
    rows = await database.execute(references.tenant_id, *checks.values(), *statements)
    found = dict(zip(checks, rows, strict=False))
    if not found["tenant"]:
        raise Problem(403, "The tenant in the token does not exist.")
    _check_found("campaign spaces", references.campaign_space_ids, found.get("campaign spaces", []))
    _check_found("assets", references.campaign_asset_ids, found.get("assets", []))
    if references.platform and not found["platform"]:
        raise invalid("platform", f"the tenant has no campaign spaces or metrics on {references.platform!r}")
    return found.get("campaign spaces", []), rows[len(checks) :]


def _check_found(kind: str, ids: Iterable[UUID], found: Iterable[Row]) -> None:
    known = {row["id"] for row in found}
    if unknown := [str(each) for each in ids if each not in known]:
        raise Problem(404, f"These {kind} do not exist: {', '.join(unknown)}.")
