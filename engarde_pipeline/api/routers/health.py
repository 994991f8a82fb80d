"""Is the process alive, and can it answer? For load balancers; no token needed."""

from dagster import DagsterInstance, RunsFilter
from fastapi import APIRouter

from engarde_pipeline.api.dependencies import JobLog, Postgres
from engarde_pipeline.api.errors import responses, unavailable

router = APIRouter(prefix="/health", tags=["health"])


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=responses(503))
async def ready(postgres: Postgres, dagster: JobLog) -> dict[str, str]:
    """Postgres and Dagster's storage answer."""
    if not await postgres.is_ready():
        raise unavailable("Postgres")
    await dagster.call(_look)
    return {"status": "ready"}


def _look(instance: DagsterInstance) -> None:
    instance.get_runs(RunsFilter(run_ids=["none"]), limit=1)
