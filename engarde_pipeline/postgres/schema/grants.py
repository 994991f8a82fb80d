"""Grants to the roles that the processes log in with; `engarde db grants` runs them.

Those of the pipeline and the API are those of deploy/postgres-role.sql, which `test_grants` compares with these.
"""

import psycopg
from psycopg import sql

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.connection import open_connection
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.schema.privileges import EXPORTER_PRIVILEGES, PRIVILEGES
from engarde_pipeline.settings import API_ROLE


class GrantRefused(EngardeError):
    """There is no such role, or the login may not grant."""


def grant_sync(database_url: str, role: str) -> list[str]:
    """Grant `role` what a sync needs, and return what is left to an administrator; the schema must be current.

    Raises:
        GrantRefused: there is no such role, or the login may not grant.
        SchemaNotCurrent: `engarde db upgrade` has not been run.
    """
    return _grant(database_url, role, may_stage=True, statements=_sync_statements())


def grant_api(database_url: str, role: str) -> list[str]:
    """Grant `role` what the API needs: membership in engarde_api, unless it is that; raises as `grant_sync`."""
    membership = sql.SQL("GRANT {} TO {{role}}").format(sql.Identifier(API_ROLE)).as_string()
    return _grant(database_url, role, may_stage=False, statements=[] if role == API_ROLE else [membership])


def grant_exporter(database_url: str, role: str) -> list[str]:
    """Grant `role` what the exporter needs: to read sums over all tenants; raises as `grant_sync`."""
    statements = [f"GRANT {names} ON {table} TO {{role}}" for table, names in EXPORTER_PRIVILEGES.items()]
    return _grant(database_url, role, may_stage=False, statements=statements)


def _sync_statements() -> list[str]:
    return [f"GRANT {', '.join(names)} ON {table} TO {{role}}" for table, names in PRIVILEGES.items()]


def _grant(database_url: str, role: str, *, may_stage: bool, statements: list[str]) -> list[str]:
    migrate.check(database_url)
    grantee = sql.Identifier(role)
    with open_connection(database_url) as connection, connection.transaction():
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s), current_schemas(false)", [role]
        ).fetchone()
        assert row is not None  # noqa: S101  the query returns one row
        exists, schemas = row
        if not exists:
            raise GrantRefused(
                f"There is no role {role}. As an administrator, run"
                f" CREATE ROLE {grantee.as_string()} LOGIN PASSWORD '...'; and then this command again."
            )
        path = sql.SQL(", ").join(map(sql.Identifier, schemas))
        names = {"role": grantee, "database": sql.Identifier(connection.info.dbname), "path": path}
        rights = "CONNECT, TEMPORARY" if may_stage else "CONNECT"
        for statement in (
            f"GRANT {rights} ON DATABASE {{database}} TO {{role}}",
            "GRANT USAGE ON SCHEMA {path} TO {role}",
            *statements,
        ):
            _execute(connection, sql.SQL(statement).format(**names))
        if schemas == ["public"]:
            return []
        # The role must find the tables where their owner does.
        setting = sql.SQL("ALTER ROLE {role} IN DATABASE {database} SET search_path = {path}").format(**names)
        try:
            with connection.transaction():
                connection.execute(setting)
        except psycopg.errors.InsufficientPrivilege:
            return [setting.as_string(connection)]
    return []


def _execute(connection: psycopg.Connection, statement: sql.Composed) -> None:
    # Without the right to grant, Postgres only warns, if the login has the privilege itself.
    notices: list[str] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate in _NOT_GRANTED:
            notices.append(str(diagnostic.message_primary))

    connection.add_notice_handler(note)
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        notices.append(str(error.diag.message_primary))
    finally:
        connection.remove_notice_handler(note)
    if notices:
        raise GrantRefused(
            f"{connection.info.user} may not run {statement.as_string(connection)}: {notices[0]}. Nothing was"
            " granted. Set DATABASE_URL to the login of the owner of the tables, which runs `engarde db upgrade`."
        )


_NOT_GRANTED = ("01007", "0LP01")  # privilege_not_granted, invalid_grant_operation
