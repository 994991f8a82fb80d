"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dagster import DagsterInstance
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from engarde_pipeline.api.compression import COMPRESS_LEVEL, LARGE_BYTES, CompressedBodies
from engarde_pipeline.api.dagster_client import DagsterClient
from engarde_pipeline.api.database import Database, check_isolation
from engarde_pipeline.api.docs_page import add_docs_page
from engarde_pipeline.api.errors import MEDIA_TYPE, add_exception_handlers
from engarde_pipeline.api.http_protocol import REQUEST_METRICS
from engarde_pipeline.api.live_updates import LiveUpdates
from engarde_pipeline.api.rate_limit import RateLimit
from engarde_pipeline.api.request_log import REQUEST_ID_HEADER, RequestLog, is_untraced
from engarde_pipeline.api.response_cache import ResponseCache
from engarde_pipeline.api.routers import health, live, metrics, rejected_records, sync
from engarde_pipeline.api.submission_queue import SubmissionQueue
from engarde_pipeline.api.submit import Submitter
from engarde_pipeline.api.sync_events import EventBroker
from engarde_pipeline.observability.request_metrics import CountRequests, RequestMetrics
from engarde_pipeline.runs.webserver import Webserver
from engarde_pipeline.settings import ApiSettings

PREFIX = "/api/campaign-performance"

_DESCRIPTION = """Start a sync, follow its progress, and read metrics and rejected records. A response has
data of one tenant only, the one in the claim `tenant_id` of the bearer token. Errors are returned as
`application/problem+json` (RFC 9457). Every response has a header `X-Request-ID`: the id that the request has
in it, or a new one. It is in the log, and on the sync that the request has started."""


class _Application(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Return the application with its middleware, enclosed by what counts and logs its requests."""
        routes = [*self.openapi()["paths"], *self.state.page_routes]
        counted = CountRequests(super().build_middleware_stack(), self.state.request_metrics, routes)
        return RequestLog(counted)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document without the media type application/json that FastAPI adds to errors."""
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
        return document


def create_app(settings: ApiSettings, instance: DagsterInstance) -> FastAPI:
    """Create the application.

    Raises:
        NotIsolated: Postgres does not restrict the database login to one tenant at a time.
        DatabaseUnavailable: Postgres cannot be reached, or refuses the login.
    """
    login = settings.api_login, settings.api_takes_role
    check_isolation(*login)
    database, dagster = Database(*login), DagsterClient(instance)
    live_updates = LiveUpdates(database, settings.api_login)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await database.open()
        yield {REQUEST_METRICS: app.state.request_metrics}
        await live_updates.close()
        await database.close()

    app = _Application(
        title="Campaign performance",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's default pages load scripts from other servers
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be sent without authentication
        # Requests are spans if traces are switched on.
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "exclude": is_untraced},
    )
    app.state.settings = settings
    app.state.secret = settings.jwt_secret_key.get_secret_value()
    app.state.rate_limit = RateLimit(settings.api_rate_limit)
    app.state.database = database
    app.state.response_cache = ResponseCache(database)
    app.state.compressed_bodies = CompressedBodies()
    app.state.dagster = dagster
    app.state.submission_queue = SubmissionQueue(database, dagster, Submitter(Webserver(settings.webserver_url)))
    app.state.event_broker = EventBroker(dagster)
    app.state.live_updates = live_updates
    # Not for server-sent events, and not for metrics, which are compressed already.
    app.add_middleware(GZipMiddleware, minimum_size=LARGE_BYTES, compresslevel=COMPRESS_LEVEL)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.api_cors_origins.split(",")],
            allow_methods=["GET", "POST"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"),
                *(REQUEST_ID_HEADER, "traceparent"),
            ],
            expose_headers=["ETag", REQUEST_ID_HEADER],
        )
    add_exception_handlers(app)
    app.include_router(sync.router, prefix=PREFIX)
    app.include_router(metrics.router, prefix=PREFIX)
    app.include_router(rejected_records.router, prefix=PREFIX)
    app.include_router(live.router, prefix=PREFIX)
    app.include_router(health.router)
    add_docs_page(app)
    app.state.request_metrics = RequestMetrics()
    app.state.page_routes = []
    return app
