"""Can Postgres be written? Each function returns what it found, or raises an error with the cure."""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.postgres import application_schema, migrate
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.tables import metadata

OLDEST_VERSION = 15

_NEEDED = {
    migrate.VERSION_TABLE: ("SELECT",),
    "tenants": ("SELECT",),
    "campaign_spaces": ("SELECT", "UPDATE"),
    "campaign_assets": ("SELECT",),
    "campaign_metrics": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "campaign_asset_metrics": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "rejected_metric_rows": ("SELECT", "INSERT", "UPDATE"),
    "campaign_space_months": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "bigquery_usage": ("SELECT", "INSERT", "UPDATE"),
    "platform_days": ("SELECT", "INSERT", "DELETE"),
    "synced_dates": ("SELECT", "INSERT", "UPDATE"),
    "source_keys": ("SELECT", "INSERT"),
    "removed_rows": ("SELECT", "DELETE"),
    "changed_dates": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}


class DatabaseUnfit(EngardeError):
    """The server is too old, or the role may not do what a sync does."""


def check_connection(database_url: str) -> str:
    """Check that the server answers and is new enough."""
    with connect(database_url) as connection:
        version = connection.info.server_version // 10000
        database, role = connection.info.dbname, connection.info.user
    if version < OLDEST_VERSION:
        raise DatabaseUnfit(f"PostgreSQL {version} is too old; {OLDEST_VERSION} or newer is needed.")
    return f"PostgreSQL {version}, database {database}, role {role}"


def check_schema(database_url: str) -> str:
    """Check the application's tables, and that every migration has run, or newer ones that only added to them."""
    adapted = _check_application(database_url)
    found = migrate.check(database_url)
    newest = (
        "the newest" if found == migrate.head() else f"newer than this version's {migrate.head()} by additions"
    )
    return "; ".join([f"at revision {found}, {newest}", *adapted])


def _check_application(database_url: str) -> list[str]:
    """Check the application's tables; return how the pipeline adapts to them."""
    with connect(database_url) as connection:
        # Not its revision, which a role may lack the right to read.
        row = connection.execute("SELECT to_regclass('campaign_metrics') IS NOT NULL").fetchone()
        is_migrated = row == (True,)
        tables = application_schema.check(connection, may_be_missing=not is_migrated)
    return application_schema.left_to_the_application(tables) if is_migrated else []


def check_sees_every_tenant(connection: psycopg.Connection) -> None:
    """Check that the role is not restricted as the API's is; the schema must be current.

    Raises:
        DatabaseUnfit: it is, and would take the rows it does not see for missing.
    """
    row = connection.execute(
        "SELECT current_user WHERE row_security_active('campaign_metrics')"
        " AND pg_has_role(current_user, 'engarde_api', 'USAGE')"
    ).fetchone()
    if row:
        role = sql.Identifier(row[0]).as_string()
        raise DatabaseUnfit(
            f"The role {role} has the rights of engarde_api, and so its restriction to one tenant. Run"
            f" REVOKE engarde_api FROM {role}; and give the API a login of its own, API_DATABASE_URL."
        )


def check_permissions(database_url: str) -> str:
    """Check that the role may read and write what a sync does, and stage in temporary tables."""
    with connect(database_url) as connection:
        role, database = (
            sql.Identifier(name).as_string() for name in (connection.info.user, connection.info.dbname)
        )
        lacking = []
        for table, privileges in _NEEDED.items():
            if missing := [name for name in privileges if not _may(connection, table, name)]:
                lacking.append(f"GRANT {', '.join(missing)} ON {table} TO {role};")
        if not _may_stage(connection):
            lacking.append(f"GRANT TEMPORARY ON DATABASE {database} TO {role};")
        if not lacking:
            check_sees_every_tenant(connection)
            _check_writing(connection)
    if lacking:
        raise DatabaseUnfit("The role lacks permissions. Run:\n  " + "\n  ".join(lacking))
    return "the role may do all that a sync does"


def _check_writing(connection: psycopg.Connection) -> None:
    """Check that nothing else in the database keeps the tables from being written, such as a publication."""
    refused = []
    totals = application_schema.writable_totals(application_schema.read(connection)["campaign_spaces"])
    for table, privileges in _NEEDED.items():
        column = next(iter(totals)) if table == "campaign_spaces" else None
        for statement in _trials(table, privileges, column):
            try:
                connection.execute(statement)  # planned, not executed
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                refused.append(f"{error.diag.message_primary}: ALTER TABLE {table} REPLICA IDENTITY FULL;")
            except psycopg.Error as error:
                refused.append(f"{table}: {error.diag.message_primary}")
    if refused:
        raise DatabaseUnfit("Postgres would refuse what a sync writes:\n  " + "\n  ".join(refused))


def _trials(table: str, privileges: Sequence[str], column: str | None) -> Iterator[sql.Composed]:
    name = sql.Identifier(table)
    if "DELETE" in privileges:
        yield sql.SQL("EXPLAIN DELETE FROM {}").format(name)
    if "UPDATE" in privileges:
        updated = sql.Identifier(column or metadata.tables[table].columns.keys()[0])
        yield sql.SQL("EXPLAIN UPDATE {0} SET {1} = {1}").format(name, updated)


def _may(connection: psycopg.Connection, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(to_regclass(%s), %s)", [table, privilege]).fetchone()
    return bool(row and row[0])


def _may_stage(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    return bool(row and row[0])
