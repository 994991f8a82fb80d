"""The service as a whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dagster import DagsterInstance
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from engarde_pipeline.api.dagster_calls import Dagster
from engarde_pipeline.api.database import Database, check_isolation
from engarde_pipeline.api.docs_page import add_docs_page
from engarde_pipeline.api.errors import MEDIA_TYPE, handle_problems
from engarde_pipeline.api.rate_limit import RateLimit
from engarde_pipeline.api.response_cache import Remembered
from engarde_pipeline.api.routers import health, metrics, sync
from engarde_pipeline.api.submissions import Submissions
from engarde_pipeline.api.sync_events import Feeds
from engarde_pipeline.settings import ApiSettings

PREFIX = "/api/campaign-performance"

_DESCRIPTION = """Trigger a sync, watch it, read metrics. Every answer is one tenant's alone: that of the bearer
token's claim `tenant_id`. Errors are `application/problem+json`."""


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the document, in which errors are problem+json only: FastAPI adds the media type of a success."""
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
        return document


def create_app(settings: ApiSettings, instance: DagsterInstance) -> FastAPI:
    """Return the service.

    Raises:
        NotIsolated: the database login is not restricted to one tenant at a time.
        DatabaseUnavailable: Postgres does not answer, or refuses the login.
    """
    login = settings.api_login, settings.api_takes_role
    check_isolation(*login)
    database, dagster = Database(*login), Dagster(instance)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await database.open()
        yield
        await database.close()

    app = _Service(
        title="Campaign performance",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from other servers
        redoc_url=None,
        redirect_slashes=False,  # a redirect would come before the token is looked at
    )
    app.state.secret = settings.jwt_secret_key.get_secret_value()
    app.state.rate_limit = RateLimit(settings.api_rate_limit)
    app.state.database = database
    app.state.answers = Remembered(database)
    app.state.dagster = dagster
    app.state.submissions = Submissions(database, dagster)
    app.state.feeds = Feeds(dagster)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.api_cors_origins.split(",")],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        )
    handle_problems(app)
    app.include_router(sync.router, prefix=PREFIX)
    app.include_router(metrics.router, prefix=PREFIX)
    app.include_router(health.router)
    add_docs_page(app)
    return app
