"""A table like `campaign_metrics` for peers, read from the migrated schema, and the SQL that merges into it."""

import psycopg

from benchmarks.peers.peer import KEY, SCHEMA, TABLE
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect

STAGING = "staging"
"""The table in the schema `peer` that rows wait in."""

_VALUES = ("platform", *CAMPAIGN_METRICS.measure_names)
_COLUMNS = ("tenant_id", *KEY, *_VALUES)
_UUIDS = {name: f"{name}::uuid" for name in ("tenant_id", "campaign_space_id")}  # they are text in the source


def create_table(url: str) -> None:
    """Create the table with the columns, indexes and foreign keys of `campaign_metrics`; triggers are left out."""
    with connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        connection.execute(f"CREATE TABLE {SCHEMA}.{TABLE} (LIKE {TABLE} INCLUDING ALL)".encode())
        keys = connection.execute(
            """
            SELECT quote_ident(conname), pg_get_constraintdef(oid)
            FROM pg_constraint
            WHERE conrelid = 'public.campaign_metrics'::regclass AND contype = 'f'
            """
        ).fetchall()
        for name, definition in keys:
            connection.execute(f"ALTER TABLE {SCHEMA}.{TABLE} ADD CONSTRAINT {name} {definition}".encode())


def merge_sql() -> str:
    """Return the statement that merges the staged rows: what an engineer writes by hand, in one statement.

    It updates the rows that differ and leaves the others alone.
    """
    assignments = ", ".join(f"{name} = excluded.{name}" for name in _VALUES)
    return f"""
        INSERT INTO {SCHEMA}.{TABLE} AS loaded ({", ".join(_COLUMNS)}, bigquery_sync_id, synced_from_bigquery_at)
        SELECT {", ".join(_UUIDS.get(name, name) for name in _COLUMNS)}, gen_random_uuid(), now()
        FROM {SCHEMA}.{STAGING}
        ON CONFLICT (campaign_space_id, metric_date, metric_hour) DO UPDATE
        SET {assignments}, bigquery_sync_id = excluded.bigquery_sync_id,
            synced_from_bigquery_at = excluded.synced_from_bigquery_at
        WHERE ({", ".join(f"loaded.{name}" for name in _VALUES)})
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _VALUES)})
        """


def copy_indexes(url: str, replaced: dict[str, tuple[str, ...]]) -> None:
    """Create the indexes of `campaign_metrics` on a table that a peer made itself.

    `replaced` names the columns that stand for a column that the table does not have.
    """
    with connect(url) as connection:
        for unique, method, columns in _indexes(connection):
            names = dict.fromkeys(name for column in columns for name in replaced.get(column, (column,)))
            connection.execute(
                f"CREATE {'UNIQUE' if unique else ''} INDEX ON {SCHEMA}.{TABLE}"
                f" USING {method} ({', '.join(names)})".encode()
            )


def _indexes(connection: psycopg.Connection) -> list[tuple[bool, str, list[str]]]:
    return connection.execute(
        """
        SELECT i.indisunique, am.amname,
               array_agg(a.attname::text ORDER BY k.position) AS columns
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = 'public.campaign_metrics'::regclass
        GROUP BY c.oid, i.indisunique, am.amname
        """
    ).fetchall()
