"""Counts the API's requests: how many, how long, how many at the moment, by route."""

import time
from collections.abc import Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNKNOWN = "unknown"
"""The route of paths that the API does not document, and the method of unusual requests."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestMetrics:
    """The metrics of requests. `route` is the template of the path, so it has few values.

    The duration ends with the last byte of the response: for a stream of events, when its client stops listening.
    A WebSocket is a GET that lasts as long as its connection, with the status 101 if it was accepted.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "engarde_api_requests",
            "Requests that the API has answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "engarde_api_request_duration_seconds",
            "How long requests took until the last byte of their responses.",
            ("method", "route"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "engarde_api_requests_in_progress",
            "Requests that the API is answering.",
            ("method", "route"),
            registry=self.registry,
        )

        # A look-up by labels takes longer than the count itself, and there are few combinations.
        self._in_progress_of = cache(self._in_progress.labels)
        self._requests_of = cache(self._requests.labels)
        self._seconds_of = cache(self._seconds.labels)

    def start(self, method: str, route: str) -> None:
        """Count a request that begins."""
        self._in_progress_of(method, route).inc()

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._in_progress_of(method, route).dec()
        self._requests_of(method, route, status).inc()
        self._seconds_of(method, route).observe(seconds)

    def refuse(self, status: int) -> None:
        """Count a request that was refused before it was read."""
        self._requests.labels(UNKNOWN, UNKNOWN, str(status)).inc()


def method_of(scope: Scope) -> str:
    """Return the method of a request; a WebSocket begins with a GET."""
    return str(scope.get("method", "GET"))


def status_of(message: Message) -> int:
    """Return the status with which a message begins a response, or 0 if it does not begin one.

    An accepted WebSocket has the status 101. One that is closed before it is accepted gets a response with 403.
    """
    if message["type"] in ("http.response.start", "websocket.http.response.start"):
        return int(message["status"])
    return {"websocket.accept": 101, "websocket.close": 403}.get(message["type"], 0)


class CountRequests:
    """ASGI middleware that counts requests; `routes` are the templates of their paths.

    A request is counted by its route from its beginning, when the application has not looked for the route yet.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, routes: Iterable[str]) -> None:
        self._app = app
        self._metrics = metrics
        # Those without parameters first: they take precedence.
        self._routes = [(compile_path(route)[0], route) for route in sorted(routes, key=lambda r: r.count("{"))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = method_of(scope)
        method = given if given in _METHODS else UNKNOWN
        route = self._route(scope["path"])
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            status = status or status_of(message)
            await send(message)

        self._metrics.start(method, route)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, note_status)
        finally:
            # The application raised an error before it responded.
            self._metrics.end(method, route, status or 500, time.perf_counter() - started)

    def _route(self, path: str) -> str:
        return next((route for pattern, route in self._routes if pattern.match(path)), UNKNOWN)
