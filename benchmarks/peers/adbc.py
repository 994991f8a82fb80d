"""ADBC: its driver for PostgreSQL ingests the Arrow rows as COPY BINARY; one statement merges them."""

import pyarrow as pa

from benchmarks.peers import like_ours
from benchmarks.peers.peer import SCHEMA, Peer


class Adbc(Peer):
    """ADBC with SQL written by hand."""

    name = "adbc"
    label = "ADBC + merge SQL"
    does_less = "the SQL is written by hand for this table"
    packages = ("adbc-driver-postgresql",)
    module = "adbc_driver_postgresql"

    def prepare(self, rows: pa.Table) -> None:
        """Make the table."""
        like_ours.create_table(self.url)

    def load(self, rows: pa.Table) -> None:
        """Ingest the rows, and merge them, in one transaction."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(like_ours.STAGING, rows, mode="replace", db_schema_name=SCHEMA)
            cursor.execute(f"ANALYZE {SCHEMA}.{like_ours.STAGING}")
            cursor.execute(like_ours.merge_sql())
            connection.commit()
