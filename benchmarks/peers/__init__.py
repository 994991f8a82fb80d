"""Other programs that merge the same rows into Postgres. Each is one file; `PEERS` lists them.

`docs/benchmarks.md` says how to add one.
"""

from benchmarks.peers.adbc import Adbc
from benchmarks.peers.dlt import Dlt, DltWithoutIndexes
from benchmarks.peers.duckdb import DuckDb
from benchmarks.peers.peer import Peer
from benchmarks.peers.pgpq import Pgpq
from benchmarks.peers.sling import Sling

PEERS: tuple[type[Peer], ...] = (Adbc, Pgpq, DuckDb, Dlt, DltWithoutIndexes, Sling)
"""The peers, in the order in which they are measured and shown."""
