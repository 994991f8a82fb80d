"""A Postgres that asks for a password and refuses every one, in the server's own words: ours trust everybody."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SSL_OR_GSS_REQUEST = (80877103, 80877104)
_CLEARTEXT_PASSWORD = b"R" + struct.pack("!II", 8, 3)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while True:
            length, code = struct.unpack("!II", self.rfile.read(8))
            startup = self.rfile.read(length - 8)
            if code not in _SSL_OR_GSS_REQUEST:
                break
            self.wfile.write(b"N")
        user = startup.split(b"\0")[1]
        self.wfile.write(_CLEARTEXT_PASSWORD)
        self.rfile.read(5)
        message = b'password authentication failed for user "' + user + b'"'
        fields = b"SFATAL\0" + b"C28P01\0" + b"M" + message + b"\0\0"
        self.wfile.write(b"E" + struct.pack("!I", 4 + len(fields)) + fields)


@contextmanager
def refusing_postgres() -> Iterator[str]:
    """Run it; yield its `host:port`."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
