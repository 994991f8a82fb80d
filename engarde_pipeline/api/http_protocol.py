"""HTTP as uvicorn reads it, with a bound on the head of a request, which comes before any token is looked at."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engarde_pipeline.api.errors import MEDIA_TYPE, body_of

LARGEST_HEAD = 64 * 2**10
"""Bytes of the request line and the headers; the uuids of a thousand campaigns fit in it."""

_LINGER_SECONDS = 2
"""What still arrives until then is thrown away; to close at once would take the answer back from the client."""


class HeadTooLarge(Exception):
    """The head of a request has more bytes than `LARGEST_HEAD`."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to a head that is too large, as soon as so much of it has arrived."""

    _reads_head = False
    _head = 0
    _has_refused = False

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        if self._has_refused:
            return
        super().data_received(data)
        if self._reads_head:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self._refuse()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._reads_head, self._head = True, 0

    def on_headers_complete(self) -> None:
        """Let the request in, unless its head came at once and is too large all the same."""
        self._reads_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._refuse()
            raise HeadTooLarge
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; a parser that was stopped has been answered already."""
        if not self._has_refused:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self._has_refused = True
        body = json.dumps(body_of(431, f"The request's headers have more than {LARGEST_HEAD} bytes.")).encode()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (MEDIA_TYPE.encode(), len(body), body)
        )
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
