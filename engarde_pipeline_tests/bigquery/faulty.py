"""BigQuery with faults: proxies in front of the emulator that answer some calls as Google does when something is
wrong, pass on the others, and remember what they saw."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.cloud.bigquery_storage_v1 import types


@dataclass(frozen=True)
class Request:
    """A request the proxy saw; `path` with its query part."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def call(self) -> str:
        """Method and path, without the query part."""
        return f"{self.method} {urlsplit(self.path).path}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the proxy answers in the emulator's place; None as `body` closes the connection without a word."""

    status: int = 200
    body: bytes | None = b""
    content_type: str = "application/json; charset=UTF-8"


def refusal(status: int, reason: str, message: str) -> Answer:
    """Return an error as Google's REST API words it."""
    details = [{"message": message, "domain": "global", "reason": reason}]
    error = {"error": {"code": status, "message": message, "errors": details}}
    return Answer(status, json.dumps(error).encode())


def answer(document: object) -> Answer:
    """Return a good answer."""
    return Answer(200, json.dumps(document).encode())


HANGS_UP = Answer(body=None)


@dataclass
class Fault:
    """Which calls are answered differently, how, and how often; None is for ever."""

    call: str
    reply: Answer | Callable[[Request], Answer | None]
    times: int | None = None


@dataclass
class Proxy:
    """A running REST proxy: its address, what it saw, and the faults it makes, the first that fits."""

    url: str
    upstream: str
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fail(
        self, call: str, reply: Answer | Callable[[Request], Answer | None], times: int | None = None
    ) -> None:
        """Answer calls that contain `call` with `reply`; a function may return None to let one pass."""
        self.faults.append(Fault(call, reply, times))

    def seen(self, call: str) -> list[Request]:
        """Return the requests whose call contains `call`."""
        return [request for request in self.requests if call in request.call]

    def reply_to(self, request: Request) -> Answer:
        """Return what is answered: the first fault that fits, or what the emulator says."""
        self.requests.append(request)
        for fault in self.faults:
            if fault.call in request.call and fault.times != 0:
                reply = fault.reply if isinstance(fault.reply, Answer) else fault.reply(request)
                if reply is not None:
                    fault.times = fault.times and fault.times - 1
                    return reply
        return self.pass_on(request)

    def pass_on(self, request: Request) -> Answer:
        """Return what the emulator says, or hang up where it is gone."""
        try:
            return self._ask(request)
        except (OSError, HTTPException):
            return HANGS_UP

    def _ask(self, request: Request) -> Answer:
        address = urlsplit(self.upstream)
        assert address.hostname
        connection = HTTPConnection(address.hostname, address.port)
        headers = {name: request.headers[name] for name in ("content-type",) if name in request.headers}
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return Answer(response.status, body, response.headers["Content-Type"] or "")


@contextmanager
def rest_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of the REST API at `upstream`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = proxy.reply_to(Request(self.command, self.path, body, headers))
            if reply.body is None:
                self.close_connection = True
                return
            with suppress(ConnectionError):  # whoever asked may have given up
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815  http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}", upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"


@dataclass
class StorageProxy:
    """A running Storage Read API proxy: its address, what it saw, and its faults."""

    address: str = ""
    calls: list[str] = field(default_factory=list)
    sessions: list[types.ReadSession] = field(default_factory=list)
    """What was asked for."""
    refuse_sessions: tuple[grpc.StatusCode, str] | None = None
    break_streams_after: list[int] = field(default_factory=list)
    """After how many messages each call of ReadRows breaks; calls beyond the list do not."""


@contextmanager
def storage_proxy(upstream: str) -> Iterator[StorageProxy]:
    """Run a proxy in front of the Storage Read API at `upstream`; messages pass through as bytes.

    A stream is resumed at the row asked for, as on the real service; the emulator starts it all over.
    """
    proxy = StorageProxy()
    channel = grpc.insecure_channel(upstream, options=[("grpc.max_receive_message_length", -1)])

    def create_session(request: bytes, context: grpc.ServicerContext) -> bytes:
        proxy.calls.append("CreateReadSession")
        proxy.sessions.append(types.CreateReadSessionRequest.deserialize(request).read_session)
        if proxy.refuse_sessions:
            context.abort(*proxy.refuse_sessions)
        session: bytes = channel.unary_unary(f"/{_SERVICE}/CreateReadSession")(request)
        return session

    def read_rows(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        proxy.calls.append("ReadRows")
        breaks_after = proxy.break_streams_after.pop(0) if proxy.break_streams_after else None
        first_row = types.ReadRowsRequest.deserialize(request).offset
        row = sent = 0
        for message in channel.unary_stream(f"/{_SERVICE}/ReadRows")(request):
            if sent == breaks_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was reset")
            if row >= first_row:
                sent += 1
                yield message
            row += types.ReadRowsResponse.deserialize(message).row_count

    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    handlers = {
        "CreateReadSession": grpc.unary_unary_rpc_method_handler(create_session),
        "ReadRows": grpc.unary_stream_rpc_method_handler(read_rows),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield proxy
    finally:
        server.stop(grace=None).wait()
        channel.close()
