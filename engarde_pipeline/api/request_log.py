"""The id of each request, and its line in the log."""

import logging
import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders

from engarde_pipeline.observability.request_metrics import method_of, status_of
from engarde_pipeline.telemetry.logs import log_context
from engarde_pipeline.telemetry.spans import trace_ids

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"

_VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}")

_HEALTH = "/health/"
_LOGIN = "/login/"


class RequestLog:
    """ASGI middleware that gives each request an id, returns it in a header, and logs how it was answered.

    It encloses the application's other middleware, so that the response to an unexpected error has the id, too.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle a request, or a WebSocket, whose line is logged when it is closed."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = accepted_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: "Message") -> None:
            nonlocal status
            if not status and (status := status_of(message)) and message["type"] != "websocket.close":
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with log_context(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                if not status:
                    raise
                # It has been logged and answered by the handler of unexpected errors.
            finally:
                _log(scope, status, time.perf_counter() - started)


def accepted_id(given: str | None) -> str:
    """Return the id that the client sent, if it is one that can be logged and tagged, or else a new one."""
    return given if given and _VALID_ID.fullmatch(given) else uuid4().hex


def is_probe(scope: "Scope") -> bool:
    """Return whether a request is a health check, which comes every few seconds."""
    return str(scope.get("path", "")).startswith(_HEALTH)


def is_untraced(scope: "Scope") -> bool:
    """Return whether a request is not traced: a health check, or a login, whose query is a secret."""
    return is_probe(scope) or str(scope.get("path", "")).startswith(_LOGIN)


def _log(scope: "Scope", status: int, seconds: float) -> None:
    method, path = method_of(scope), scope["path"]
    level = logging.WARNING if status >= 500 else logging.INFO
    if is_probe(scope) and status < 400:
        level = logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    # Without the query, which may be long, and is a secret in a login.
    answer = f"{status}" if status else "no response: the client has disconnected"
    logger.log(
        level,
        "%s %s: %s, %.0f ms",
        method,
        path.encode("ascii", "backslashreplace").decode(),
        answer,
        seconds * 1000,
        extra={
            "method": method,
            "path": path,
            "route": getattr(scope.get("route"), "path", None),
            "status": status or None,
            "duration_seconds": round(seconds, 6),
            "client": scope["client"][0] if scope.get("client") else None,
            **trace_ids(),
        },
    )
