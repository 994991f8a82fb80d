"""The checks of Postgres for `engarde doctor`. Each returns a description, or raises an error with the cure."""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from engarde_pipeline.postgres.connection import SETTINGS, DatabaseUnfit, connect, open_connection
from engarde_pipeline.postgres.schema import application_schema, migrate
from engarde_pipeline.postgres.schema.migrate import VERSION_TABLE
from engarde_pipeline.postgres.schema.privileges import PRIVILEGES
from engarde_pipeline.postgres.schema.tables import metadata
from engarde_pipeline.postgres.visibility import check_sees_every_row

OLDEST_VERSION = 15

# The settings of the role or the database that the session overrides.
_SESSION = """
SELECT current_setting('server_encoding'),
       (SELECT string_agg(DISTINCT split_part(setting, '=', 1), ', ')
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND setrole IN (0, session_user::regrole)
          AND lower(split_part(setting, '=', 1)) = ANY({names}))
"""

_REVISION = "SELECT version_num FROM {}"

_MAY_STORE_HISTORY = """
SELECT CASE
    WHEN to_regclass('runs') IS NULL THEN coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
    ELSE has_table_privilege('runs', 'INSERT')
END
"""

# The pipeline's tables are in the schema of its version table; the application's are those that they refer to.
_SHADOWED = """
SELECT found.relname, found.relnamespace::regnamespace::text, own.relnamespace::regnamespace::text
FROM pg_class version
JOIN pg_class own ON own.relnamespace = version.relnamespace AND own.relname = ANY({names})
JOIN pg_class found ON found.oid = to_regclass(quote_ident(own.relname))
WHERE version.oid = to_regclass({version}) AND found.oid <> own.oid
UNION ALL
SELECT found.relname, found.relnamespace::regnamespace::text, own.relnamespace::regnamespace::text
FROM pg_constraint refers
JOIN pg_class own ON own.oid = refers.confrelid
JOIN pg_class found ON found.oid = to_regclass(quote_ident(own.relname))
WHERE refers.conrelid IN (to_regclass('campaign_metrics'), to_regclass('campaign_asset_metrics'))
  AND refers.contype = 'f' AND refers.conparentid = 0 AND found.oid <> own.oid
LIMIT 1
"""

_ENCODINGS = {
    "UTF8": "encoding UTF8",
    "SQL_ASCII": "encoding SQL_ASCII, which does not convert text: ids beyond ASCII are found if the application"
    " writes them as UTF-8",
}


def check_connection(database_url: str) -> str:
    """Check that the server responds and is new enough."""
    with connect(database_url) as connection:
        version = _check_version(connection)
        database, role = connection.info.dbname, connection.info.user
    return f"PostgreSQL {version}, database {database}, role {role}"


def check_history(dagster_database_url: str) -> str:
    """Check that Dagster's history can be stored: the session is kept, and the role can write or create tables."""
    variable = "DAGSTER_DATABASE_URL"
    with connect(dagster_database_url, variable=variable) as connection:
        _check_writable(connection, variable)
        database, role = connection.info.dbname, connection.info.user
        row = connection.execute(_MAY_STORE_HISTORY).fetchone()
    if row != (True,):
        names = [sql.Identifier(name).as_string() for name in (database, role)]
        raise DatabaseUnfit(
            f"The role may not create Dagster's tables in database {database}, or may not write to them. Create"
            f" the database for the role: CREATE DATABASE {names[0]} OWNER {names[1]}; or, before Dagster creates"
            f" its tables, run as an administrator: ALTER DATABASE {names[0]} OWNER TO {names[1]};"
        )
    return f"database {database}, role {role}, can write"


def _check_version(connection: psycopg.Connection) -> int:
    version = connection.info.server_version // 10000
    if version < OLDEST_VERSION:
        raise DatabaseUnfit(f"PostgreSQL {version} is too old; {OLDEST_VERSION} or newer is required.")
    return version


def check_schema(database_url: str) -> str:
    """Check the application's tables, and that the schema is current, or newer only by additions."""
    adapted = _check_application(database_url)
    found = migrate.check(database_url)
    newest = (
        "the newest" if found == migrate.head() else f"newer than this version's {migrate.head()} by additions"
    )
    return "; ".join([f"at revision {found}, {newest}", *adapted])


def _check_application(database_url: str) -> list[str]:
    """Check the application's tables; return how the pipeline adapts to them."""
    with connect(database_url) as connection:
        # Not by its revision, which the role may not be allowed to read.
        row = connection.execute("SELECT to_regclass('campaign_metrics') IS NOT NULL").fetchone()
        is_migrated = row == (True,)
        tables = application_schema.check(connection, may_be_missing=not is_migrated)
    return application_schema.adaptations(tables) if is_migrated else []


def check_before_upgrade(database_url: str) -> None:
    """Check that the schema can be changed, and that a migration sees every row.

    A migration is one transaction, so it works over any pooler.

    Raises:
        DatabaseUnfit: one of these is not the case.
    """
    with open_connection(database_url) as connection:
        _check_version(connection)
        _check_writable(connection)
        check_sees_every_row(connection)


def check_migrations(database_url: str) -> str:
    """Check that this login can run `engarde db upgrade`."""
    check_before_upgrade(database_url)
    with open_connection(database_url) as connection:
        row = connection.execute(
            "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'),"
            " pg_get_userbyid(relowner), pg_has_role(relowner, 'USAGE')"
            " FROM (SELECT) AS one LEFT JOIN pg_class ON oid = to_regclass('campaign_spaces')"
        ).fetchone()
        assert row is not None  # noqa: S101  the query returns one row
        schema, may_create, owner, is_owner = row
        if not may_create:
            role = sql.Identifier(connection.info.user).as_string()
            raise DatabaseUnfit(
                f"The role may not create tables. Run: GRANT CREATE ON SCHEMA {schema or 'public'} TO {role};"
            )
        if is_owner is False:
            raise DatabaseUnfit(
                f"campaign_spaces is owned by {owner}, and {connection.info.user} is not a member of that role."
                " Set DATABASE_URL to the login of the owner of the application's tables."
            )
    found, newest = migrate.current(database_url), migrate.head()
    return f"the schema {schema} can be migrated; it is at revision {found or 'none'}, the newest is {newest}"


def check_session(database_url: str) -> str:
    """Check that a session can write, keeps its server connection, and sees every row."""
    with connect(database_url) as connection:
        check_usable(connection)
        row = connection.execute(_session()).fetchone()
        assert row is not None  # noqa: S101  the query returns one row
        encoding, settings = row
        over_a_pooler = connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,)
    way = "through a pooler in session mode" if over_a_pooler else "direct connection"
    changed = f"; overridden settings of the role: {settings}" if settings else ""
    text = _ENCODINGS.get(encoding, f"encoding {encoding}: ids with other characters are rejected")
    return f"{way}, can write, sees every row, {text}{changed}"


def _session() -> sql.Composed:
    names = [name.lower() for name in (*SETTINGS, "client_encoding") if name != "search_path"]
    return sql.SQL(_SESSION).format(names=sql.Literal(names))


def is_current(connection: psycopg.Connection) -> bool:
    """Return whether the schema is at the revision of this version; if not, `migrate.check` says why."""
    try:
        found = connection.execute(sql.SQL(_REVISION).format(sql.Identifier(VERSION_TABLE))).fetchone()
    except (errors.UndefinedTable, errors.InsufficientPrivilege):
        return False
    return found == (migrate.head(),)


def check_usable(connection: psycopg.Connection) -> None:
    """Check that a sync over this connection can write correct numbers; does not check that tables exist.

    Raises:
        DatabaseUnfit: the session can only read, triggers are off, the search_path finds other tables of the same
            names, or row-level security can hide rows.
    """
    _check_writable(connection)
    if connection.execute("SHOW session_replication_role").fetchone() == ("replica",):
        role = sql.Identifier(connection.info.user).as_string()
        raise DatabaseUnfit(
            "session_replication_role is replica, so the triggers that keep sums do not fire. As an"
            f" administrator, run ALTER ROLE {role} RESET session_replication_role; if it is set for the database"
            " or the server, reset it there."
        )
    _check_search_path(connection)
    check_sees_every_row(connection)


def _check_search_path(connection: psycopg.Connection) -> None:
    names = sql.Literal(sorted(PRIVILEGES.keys() - application_schema.UUIDS.keys()))
    statement = sql.SQL(_SHADOWED).format(names=names, version=sql.Literal(VERSION_TABLE))
    shadowed = connection.execute(statement).fetchone()
    if shadowed:
        name, schema, meant = shadowed
        role = sql.Identifier(connection.info.user).as_string()
        raise DatabaseUnfit(
            f"The search_path of the role finds {name} in schema {schema}, but the pipeline uses {meant}.{name}."
            f" Put {meant} before {schema}: ALTER ROLE {role} SET search_path = {meant}, {schema}; or rename the"
            " other table."
        )


def _check_writable(connection: psycopg.Connection, variable: str = "DATABASE_URL") -> None:
    """Check that the session is not read-only; `variable` has the address of the server.

    Raises:
        DatabaseUnfit: it is.
    """
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean"
    ).fetchone()
    assert row is not None  # noqa: S101  the query returns one row
    is_standby, is_read_only = row
    if is_standby:
        raise DatabaseUnfit(
            f"The server is a standby, which is read-only. Set {variable} to the primary, or to all servers as"
            " host1:5432,host2:5432, of which the primary is chosen."
        )
    if is_read_only:
        role = sql.Identifier(connection.info.user).as_string()
        raise DatabaseUnfit(
            f"The session is read-only: default_transaction_read_only is on. Run ALTER ROLE {role} SET"
            " default_transaction_read_only = off; if the server itself is read-only, set"
            f" {variable} to one that is not."
        )


def check_permissions(database_url: str) -> str:
    """Check that the role has the permissions of a sync, including temporary tables."""
    with connect(database_url) as connection:
        role, database = (
            sql.Identifier(name).as_string() for name in (connection.info.user, connection.info.dbname)
        )
        lacking = []
        for table, privileges in PRIVILEGES.items():
            if missing := [name for name in privileges if not _may(connection, table, name)]:
                lacking.append(f"GRANT {', '.join(missing)} ON {table} TO {role};")
        if not _may_stage(connection):
            lacking.append(f"GRANT TEMPORARY ON DATABASE {database} TO {role};")
        if not lacking:
            check_sees_every_row(connection)
            _check_writing(connection)
    if lacking:
        raise DatabaseUnfit("The role lacks permissions. Run:\n  " + "\n  ".join(lacking))
    return "the role has all permissions that a sync needs"


def _check_writing(connection: psycopg.Connection) -> None:
    """Check that nothing else prevents writes to the tables, such as a publication."""
    refused = []
    totals = application_schema.writable_totals(application_schema.read(connection)["campaign_spaces"])
    for table, privileges in PRIVILEGES.items():
        column = next(iter(totals)) if table == "campaign_spaces" else None
        for statement in _trials(table, privileges, column):
            try:
                connection.execute(statement)  # planned, not executed
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                refused.append(f"{error.diag.message_primary}: ALTER TABLE {table} REPLICA IDENTITY FULL;")
            except psycopg.Error as error:
                refused.append(f"{table}: {error.diag.message_primary}")
    if refused:
        raise DatabaseUnfit("Postgres would refuse the writes of a sync:\n  " + "\n  ".join(refused))


def _trials(table: str, privileges: Sequence[str], column: str | None) -> Iterator[sql.Composed]:
    name = sql.Identifier(table)
    if "DELETE" in privileges:
        yield sql.SQL("EXPLAIN DELETE FROM {}").format(name)
    if "UPDATE" in privileges:
        updated = sql.Identifier(column or next(c.name for c in metadata.tables[table].columns if not c.identity))
        yield sql.SQL("EXPLAIN UPDATE {0} SET {1} = {1}").format(name, updated)


def _may(connection: psycopg.Connection, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(to_regclass(%s), %s)", [table, privilege]).fetchone()
    return bool(row and row[0])


def _may_stage(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    return bool(row and row[0])
