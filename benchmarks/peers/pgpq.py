"""pgpq: encodes Arrow batches as COPY BINARY; psycopg sends them, and one statement merges them."""

import psycopg
import pyarrow as pa

from benchmarks.peers import like_ours
from benchmarks.peers.peer import SCHEMA, Peer


class Pgpq(Peer):
    """pgpq with SQL written by hand."""

    name = "pgpq"
    label = "pgpq + merge SQL"
    does_less = "the SQL is written by hand for this table"
    packages = ("pgpq",)
    module = "pgpq"

    def prepare(self, rows: pa.Table) -> None:
        """Make the table, and the one that rows wait in."""
        from pgpq import ArrowToPostgresBinaryEncoder

        like_ours.create_table(self.url)
        columns = ArrowToPostgresBinaryEncoder(rows.schema).schema().columns
        definitions = ", ".join(f"{column.name} {column.data_type.ddl()}" for column in columns)
        with psycopg.connect(self.url) as connection:
            connection.execute(f"CREATE TABLE {SCHEMA}.{like_ours.STAGING} ({definitions})".encode())

    def load(self, rows: pa.Table) -> None:
        """Copy the rows, and merge them, in one transaction."""
        from pgpq import ArrowToPostgresBinaryEncoder

        staging = f"{SCHEMA}.{like_ours.STAGING}"
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        with psycopg.connect(self.url) as connection:
            connection.execute(f"TRUNCATE {staging}".encode())
            with connection.cursor().copy(f"COPY {staging} FROM STDIN (FORMAT binary)".encode()) as copy:
                copy.write(encoder.write_header())
                for batch in rows.to_batches():
                    copy.write(encoder.write_batch(batch))
                copy.write(encoder.finish())
            connection.execute(f"ANALYZE {staging}".encode())
            connection.execute(like_ours.merge_sql().encode())
