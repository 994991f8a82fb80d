"""FastAPI dependencies: the objects of which the application has one per process."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from engarde_pipeline.api.dagster_client import DagsterClient
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.live_updates import LiveUpdates
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.response_cache import ResponseCache
from engarde_pipeline.api.submission_queue import SubmissionQueue
from engarde_pipeline.api.sync_events import EventBroker
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.core.dates import today
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.settings import ApiSettings


@dataclass(frozen=True)
class MetricsReader:
    """What reading metrics needs."""

    database: Database
    cache: ResponseCache
    calendar: Calendar


# Async although they await nothing: FastAPI would run plain functions in a thread for every request.
async def _database(request: Request) -> Database:
    return cast("Database", request.app.state.database)


async def _metrics_reader(request: Request) -> MetricsReader:
    state = request.app.state
    settings = cast("ApiSettings", state.settings)
    calendar = Calendar(settings.engarde_first_date, today(), settings.engarde_restatement_days)
    return MetricsReader(state.database, state.response_cache, calendar)


async def _dagster(request: Request) -> DagsterClient:
    return cast("DagsterClient", request.app.state.dagster)


async def _submission_queue(request: Request) -> SubmissionQueue:
    return cast("SubmissionQueue", request.app.state.submission_queue)


async def _live_updates(connection: HTTPConnection) -> LiveUpdates:
    return cast("LiveUpdates", connection.app.state.live_updates)


async def _event_broker(request: Request) -> EventBroker:
    return cast("EventBroker", request.app.state.event_broker)


async def _request_id(request: Request) -> str:
    return cast("str", request.state.request_id)


DatabaseDep = Annotated[Database, Depends(_database)]
MetricsReaderDep = Annotated[MetricsReader, Depends(_metrics_reader)]
DagsterDep = Annotated[DagsterClient, Depends(_dagster)]
SubmissionQueueDep = Annotated[SubmissionQueue, Depends(_submission_queue)]
EventBrokerDep = Annotated[EventBroker, Depends(_event_broker)]
LiveUpdatesDep = Annotated[LiveUpdates, Depends(_live_updates)]
RequestIdDep = Annotated[str, Depends(_request_id)]


async def check_tenant(caller: CurrentCaller, database: DatabaseDep) -> None:
    """Check that the caller's tenant exists.

    Raises:
        Problem: 403, it does not; 503, Postgres does not respond in time.
    """
    await check_and_execute(database, References(caller.tenant_id))
