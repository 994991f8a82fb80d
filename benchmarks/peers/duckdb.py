"""DuckDB: its postgres extension copies the Arrow rows to Postgres, where one statement merges them."""

import pyarrow as pa

from benchmarks.peers import like_ours
from benchmarks.peers.peer import SCHEMA, Peer


class DuckDb(Peer):
    """DuckDB with SQL written by hand."""

    name = "duckdb"
    label = "DuckDB + merge SQL"
    does_less = "the SQL is written by hand for this table"
    packages = ("duckdb", "duckdb-extension-postgres-scanner")
    module = "duckdb_extension_postgres_scanner"

    def prepare(self, rows: pa.Table) -> None:
        """Make the table."""
        like_ours.create_table(self.url)

    def load(self, rows: pa.Table) -> None:
        """Copy the rows, and merge them, in one transaction."""
        import duckdb
        from duckdb_extensions import import_extension

        staging = f"{SCHEMA}.{like_ours.STAGING}"
        with duckdb.connect(config={"extension_directory": str(self.directory / "duckdb")}) as connection:
            import_extension("postgres_scanner", con=connection)
            connection.execute("LOAD postgres_scanner")
            connection.execute(f"ATTACH '{self.url}' AS target (TYPE postgres)")
            connection.register("source", rows)
            connection.begin()
            connection.execute(f"DROP TABLE IF EXISTS target.{staging}")
            connection.execute(f"CREATE TABLE target.{staging} AS SELECT * FROM source")
            for statement in (f"ANALYZE {staging}", like_ours.merge_sql()):
                connection.execute("CALL postgres_execute('target', ?)", [statement])
            connection.commit()
