"""uvicorn's protocols: HTTP with a size limit for the head, checked before authentication; and WebSocket."""

import json
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from engarde_pipeline.api.errors import MEDIA_TYPE, problem_body
from engarde_pipeline.api.request_log import accepted_id

logger = logging.getLogger(__name__)

REQUEST_METRICS = "request_metrics"
"""The metrics in the state that the application's lifespan passes to the protocol."""

MAX_HEAD_BYTES = 64 * 2**10
"""For the request line and the headers; a URL with the UUIDs of a thousand campaigns fits."""

_LINGER_SECONDS = 2
"""Data that arrives in this time is discarded; closing the connection immediately could lose the response."""


class HeadTooLarge(Exception):
    """The request line and headers have more than `MAX_HEAD_BYTES`."""


class BoundedProtocol(HttpToolsProtocol):
    """Responds with 431 as soon as the request line and headers exceed `MAX_HEAD_BYTES`."""

    _is_reading_head = False
    _head_bytes = 0
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Parse received data, and count the bytes of the head."""
        if self._is_refused:
            return
        super().data_received(data)
        if self._is_reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def on_message_begin(self) -> None:
        """Start counting the bytes of the head."""
        super().on_message_begin()
        self._is_reading_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Pass the request on, unless its head is too large although it arrived in one piece."""
        self._is_reading_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse()
            raise HeadTooLarge
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP, unless the parser was stopped by a refusal, which has had its response."""
        if not self._is_refused:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self._is_refused = True
        request_id = accepted_id(None)  # the headers are not read
        logger.warning(
            "A request was refused with 431: its head is too large",
            extra={"request_id": request_id, "status": 431},
        )
        self.app_state[REQUEST_METRICS].refuse(431)
        body = json.dumps(
            problem_body(431, f"The request line and headers have more than {MAX_HEAD_BYTES} bytes.")
        ).encode()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
            b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
            % (MEDIA_TYPE.encode(), len(body), request_id.encode(), body)
        )
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


class SocketProtocol(WebSocketsSansIOProtocol):
    """Does not log an error for each WebSocket that is refused with an HTTP response, as uvicorn does."""

    async def send(self, message: Any) -> None:
        """Send a message; a complete HTTP response completes the handshake."""
        await super().send(message)
        if self.initial_response and self.close_sent:
            self.handshake_complete = True
