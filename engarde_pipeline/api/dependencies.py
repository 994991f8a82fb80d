"""What the endpoints share: made once per process, and asked for by type."""

from typing import Annotated, cast

from fastapi import Depends, Request

from engarde_pipeline.api.dagster_calls import Dagster
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.response_cache import Remembered
from engarde_pipeline.api.submissions import Submissions
from engarde_pipeline.api.sync_events import Feeds


# Asynchronous, although they wait for nothing: FastAPI gives each plain function a thread, request by request.
async def _postgres(request: Request) -> Database:
    return cast("Database", request.app.state.database)


async def _answers(request: Request) -> Remembered:
    return cast("Remembered", request.app.state.answers)


async def _dagster(request: Request) -> Dagster:
    return cast("Dagster", request.app.state.dagster)


async def _submissions(request: Request) -> Submissions:
    return cast("Submissions", request.app.state.submissions)


async def _feeds(request: Request) -> Feeds:
    return cast("Feeds", request.app.state.feeds)


Postgres = Annotated[Database, Depends(_postgres)]
Answers = Annotated[Remembered, Depends(_answers)]
JobLog = Annotated[Dagster, Depends(_dagster)]
Submitting = Annotated[Submissions, Depends(_submissions)]
Progress = Annotated[Feeds, Depends(_feeds)]
