"""Sling: its command line, from a CSV file, in the mode `incremental`.

For Parquet and Arrow files it would download DuckDB first. Writing the file is timed, as encoding is with the
others. Sling reaches Postgres over TCP only, and the benchmark's server has just a unix socket: threads pass the
bytes on.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.csv as csv
from sqlalchemy.engine import make_url

from benchmarks.peers import like_ours
from benchmarks.peers.peer import KEY, SCHEMA, TABLE, Peer
from engarde_pipeline.postgres.connection import connect

_BLOCK = 1 << 20

_SAMPLE = 1_000
"""Rows by which Sling decides on the types of columns: a few might have only whole amounts."""


class SlingFailed(Exception):
    """Sling ended with an error; the end of its output is in the message."""


class Sling(Peer):
    """Sling with the indexes of our table."""

    name = "sling"
    label = "Sling"
    does_less = "no foreign keys, no ratios"
    packages = ("sling-linux-amd64",)
    module = "sling_linux_amd64"

    def prepare(self, rows: pa.Table) -> None:
        """Let Sling make the table, and add the indexes."""
        with connect(self.url) as connection:
            connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        self.load(rows.slice(0, _SAMPLE))
        like_ours.copy_indexes(self.url, {"id": ("tenant_id", *KEY), "metric_hour": ()})
        with connect(self.url) as connection:
            connection.execute(f"TRUNCATE {SCHEMA}.{TABLE}".encode())

    def load(self, rows: pa.Table) -> None:
        """Write the file, and run Sling."""
        from sling_linux_amd64 import SLING_BIN

        home = self.directory / "sling"
        home.mkdir(exist_ok=True)
        file = home / "rows.csv"
        csv.write_csv(rows, file)
        address = make_url(self.url)
        with _relay(f"{address.query['host']}/.s.PGSQL.5432") as port:
            target = f"postgresql://postgres:unused@127.0.0.1:{port}/{address.database}?sslmode=disable"
            process = subprocess.run(
                [
                    *(SLING_BIN, "run", "--mode", "incremental", "--primary-key", ",".join(KEY)),
                    *("--src-stream", f"file://{file}", "--tgt-conn", target, "--tgt-object", f"{SCHEMA}.{TABLE}"),
                ],
                env={**os.environ, "SLING_HOME_DIR": str(home), "SLING_DISABLE_TELEMETRY": "TRUE"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if process.returncode:
            raise SlingFailed(f"Sling failed:\n{(process.stdout + process.stderr)[-4000:]}")


@contextmanager
def _relay(path: str) -> Iterator[int]:
    """Pass the bytes of connections to a free TCP port on to the unix socket at `path`; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, path), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, path: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # closed: Sling has ended
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while block := source.recv(_BLOCK):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # the other side is gone
        source.close()
