"""GET /health/live and /health/ready, for load balancers and orchestrators; they require no token."""

from dagster import DagsterInstance, RunsFilter
from fastapi import APIRouter

from engarde_pipeline.api.dependencies import DagsterDep, DatabaseDep
from engarde_pipeline.api.errors import responses, unavailable

router = APIRouter(prefix="/health", tags=["health"])


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> dict[str, str]:
    """Liveness: the process responds."""
    return {"status": "live"}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=responses(503))
async def ready(database: DatabaseDep, dagster: DagsterDep) -> dict[str, str]:
    """Readiness: Postgres and Dagster's storage respond."""
    if not await database.is_ready():
        raise unavailable("Postgres")
    await dagster.call(_query_storage)
    return {"status": "ready"}


def _query_storage(instance: DagsterInstance) -> None:
    instance.get_runs(RunsFilter(run_ids=["none"]), limit=1)
