"""Finds what would make an upgrade fail, before it changes anything: missing rights and names that are taken."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engarde_pipeline.postgres.schema import application_schema
from engarde_pipeline.postgres.schema.application_schema import LAST_UPDATED, TOTALS, Table
from engarde_pipeline.postgres.schema.tables import metadata


@dataclass(frozen=True)
class _Rights:
    role: str
    database: str
    schema: str | None
    may_create_in_schema: bool | None
    may_create_schemas: bool
    has_api_schema: bool
    has_api_role: bool
    may_create_roles: bool


_RIGHTS = """
SELECT current_user AS role, current_database() AS database, current_schema() AS schema,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create_in_schema,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
       to_regnamespace('engarde_api') IS NOT NULL AS has_api_schema,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'engarde_api') AS has_api_role,
       (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) AS may_create_roles
"""

_MORE_RIGHTS = {"campaign_spaces": ("UPDATE", "TRIGGER"), "campaign_assets": ("TRIGGER",)}

_ADMINISTRATOR = "As an administrator run"

# A table also has a type of the same name.
_TAKEN = """
SELECT relname, 'TABLE' AS kind
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s) AND relkind NOT IN ('i', 'c')
UNION
SELECT typname, CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END
FROM pg_type
WHERE typnamespace = current_schema()::regnamespace AND typname = ANY(%s)
  AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind <> 'c')
ORDER BY 1
"""


def obstacles(connection: psycopg.Connection, tables: dict[str, Table], revision: str | None) -> list[str]:
    """Return what prevents an upgrade of a database at `revision` (None: not migrated yet), with the cures.

    `tables` are the application's.
    """
    return [*_rights(connection, tables, revision), *_taken(connection, revision)]


def _rights(connection: psycopg.Connection, tables: dict[str, Table], revision: str | None) -> Iterator[str]:
    with connection.cursor(row_factory=class_row(_Rights)) as cursor:
        has = cursor.execute(_RIGHTS).fetchone()
    assert has is not None  # noqa: S101  the query returns one row
    if has.schema is None:
        yield "No schema of the role's search_path exists: create one, or ALTER ROLE ... SET search_path = ...;"
        return
    role, schema, database = (sql.Identifier(name).as_string() for name in (has.role, has.schema, has.database))
    if not has.may_create_in_schema:
        yield f"{_ADMINISTRATOR} GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"
    if not has.has_api_schema and not has.may_create_schemas:
        yield f"{_ADMINISTRATOR} GRANT CREATE ON DATABASE {database} TO {role};"
    if not has.has_api_role and not has.may_create_roles:
        yield f"{_ADMINISTRATOR} CREATE ROLE engarde_api NOLOGIN;"
    if revision is not None:
        return
    for name, table in tables.items():
        if table.schema is not None:
            needed = ["SELECT", "REFERENCES", *_MORE_RIGHTS.get(name, ())]
            if lacking := [right for right in needed if not _may(connection, name, right)]:
                yield f"{_ADMINISTRATOR} GRANT {', '.join(lacking)} ON {_qualified(table)} TO {role};"
    spaces = tables["campaign_spaces"]
    if spaces.schema is not None and not {*TOTALS, LAST_UPDATED} <= spaces.columns.keys():
        yield from _owner(connection, spaces, role)


def _owner(connection: psycopg.Connection, table: Table, role: str) -> Iterator[str]:
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner)::text FROM pg_class"
        " WHERE oid = to_regclass(%s) AND NOT pg_has_role(current_user, relowner, 'USAGE')",
        [table.name],
    ).fetchone()
    if row:
        owner = sql.Identifier(row[0]).as_string()
        yield (
            f"Only {owner}, which owns campaign_spaces, may add the missing total columns: upgrade with that"
            f" role, or as an administrator run GRANT {owner} TO {role};"
        )


def _taken(connection: psycopg.Connection, revision: str | None) -> Iterator[str]:
    if revision is not None:
        return
    ours = sorted(metadata.tables.keys() - application_schema.UUIDS.keys())
    for name, kind in connection.execute(_TAKEN, [ours, ours]).fetchall():
        yield (
            f"{name} already exists and does not belong to the pipeline. Rename it, ALTER {kind} {name} RENAME TO"
            f" {name}_old; the pipeline creates its own and fills it from BigQuery."
        )
    if connection.execute("SELECT to_regnamespace('engarde_api')").fetchone() != (None,):
        yield (
            "The schema engarde_api already exists and does not belong to the pipeline: ALTER SCHEMA engarde_api"
            " RENAME TO engarde_api_old;"
        )


def _may(connection: psycopg.Connection, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(to_regclass(%s), %s)", [table, privilege]).fetchone()
    return bool(row and row[0])


def _qualified(table: Table) -> str:
    return sql.Identifier(str(table.schema), table.name).as_string()
