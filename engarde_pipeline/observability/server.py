"""Serves metrics over HTTP: `/metrics` for Prometheus, and `/health/live`."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def create_app(*collectors: Collector) -> Starlette:
    """Create the application; it also has the metrics of this process (memory, CPU seconds, open files)."""
    registry = CollectorRegistry()
    for collector in (*collectors, ProcessCollector(registry=None)):
        registry.register(collector)

    # Not a coroutine: it runs in a thread, and a slow scrape does not delay the liveness check.
    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    return Starlette(routes=[Route("/metrics", metrics), Route("/health/live", live)])
