"""A relay in front of Postgres that cuts the connection in the middle of what the client says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import make_url

_PIECE = 256


@contextmanager
def cut_after(database_url: str, sent_bytes: int) -> Iterator[str]:
    """Yield an address of the same database, whose connections break once the client sent so many bytes.

    `database_url` names a server on a unix socket.
    """
    url = make_url(database_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = threading.Thread(target=_accept, args=(listener, f"{url.query['host']}/.s.PGSQL.5432", sent_bytes))
        relay.start()
        port = listener.getsockname()[1]
        try:
            yield url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"}).render_as_string(
                hide_password=False
            )
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            relay.join()


def _accept(listener: socket.socket, server_path: str, sent_bytes: int) -> None:
    pumps = []
    with suppress(OSError):  # the listener was shut down
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(server_path)
            pumps += [
                threading.Thread(target=_pump, args=(client, server, sent_bytes)),
                threading.Thread(target=_pump, args=(server, client, None)),
            ]
            for pump in pumps[-2:]:
                pump.start()
    for pump in pumps:
        pump.join()


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    with suppress(OSError):
        while (limit is None or limit > 0) and (piece := source.recv(_PIECE)):
            target.sendall(piece[:limit])
            limit = None if limit is None else limit - len(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    # Only one of the two pumps closes each, so that no descriptor is closed twice.
    source.close()
