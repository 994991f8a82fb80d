"""Checks that row-level security hides no rows from the role, because a sync would treat them as missing."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from engarde_pipeline.postgres.connection import DatabaseUnfit
from engarde_pipeline.postgres.schema.privileges import PRIVILEGES

# The commands as `pg_policy` names them. A forbidden INSERT raises an error, so it needs no check.
_POLICY_COMMANDS = {"SELECT": "r", "UPDATE": "w", "DELETE": "d"}
_COMMANDS = {
    table: "".join(_POLICY_COMMANDS.get(privilege, "") for privilege in privileges)
    for table, privileges in PRIVILEGES.items()
}

# A row is visible if a permissive policy allows it and no restrictive one forbids it. Only the condition `true` is
# certain to hold for every row.
_HIDING = """
WITH used AS (
    SELECT name, to_regclass(name) AS relation, command
    FROM unnest({names}::text[], {commands}::text[]) AS u (name, commands),
         string_to_table(commands, NULL) AS command
), policies AS (
    SELECT u.name, u.command, p.polname, p.polpermissive,
           coalesce(pg_get_expr(p.polqual, p.polrelid) = 'true', NOT p.polpermissive) AS is_true,
           to_regrole('engarde_api') = ANY(p.polroles) AS is_the_apis
    FROM used u
    JOIN pg_policy p ON p.polrelid = u.relation AND p.polcmd::text IN ('*', u.command)
    WHERE EXISTS (SELECT FROM unnest(p.polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))
)
SELECT u.name,
       coalesce(bool_or(NOT is_true AND NOT polpermissive AND is_the_apis), false),
       coalesce(array_agg(DISTINCT quote_ident(polname)) FILTER (WHERE NOT is_true AND NOT polpermissive), '{{}}')
FROM used u
LEFT JOIN policies p USING (name, command)
WHERE row_security_active(relation)
GROUP BY u.name, u.command
HAVING NOT coalesce(bool_or(is_true) FILTER (WHERE polpermissive), false)
    OR coalesce(bool_or(NOT is_true) FILTER (WHERE NOT polpermissive), false)
ORDER BY u.name
"""


def check_sees_every_row(connection: psycopg.Connection) -> None:
    """Check that no policy can hide rows of the existing tables from the role.

    Every policy with another condition than `true` is assumed to hide rows.

    Raises:
        DatabaseUnfit: a policy can hide rows.
    """
    statement = sql.SQL(_HIDING).format(
        names=sql.Literal(list(_COMMANDS)), commands=sql.Literal(list(_COMMANDS.values()))
    )
    found = connection.execute(statement).fetchall()
    if not found:
        return
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None  # noqa: S101  the query returns one row
    role = sql.Identifier(row[0]).as_string()
    if any(is_the_apis for _, is_the_apis, _ in found):
        raise DatabaseUnfit(
            f"The role {role} is a member of engarde_api and therefore restricted to one tenant. Run"
            f" REVOKE engarde_api FROM {role}; and give the API its own login, API_DATABASE_URL."
        )
    tables = list(dict.fromkeys(name for name, *_ in found))
    restrictive = list(dict.fromkeys(f"{policy} ON {name}" for name, _, names in found for policy in names))
    raise DatabaseUnfit(
        f"Row-level security can hide rows of {', '.join(tables)} from the role {role}. A sync would treat"
        f" them as missing, reject their records and delete their numbers. {_cure(role, tables, restrictive)}"
    )


def _cure(role: str, tables: Sequence[str], restrictive: Sequence[str]) -> str:
    everything = "".join(
        f"\n  CREATE POLICY engarde_pipeline_sees_all ON {table} TO {role} USING (true);" for table in tables
    )
    exempt = (
        f"\nand remove the role from these restrictive policies: {', '.join(restrictive)}." if restrictive else ""
    )
    return (
        f"As an administrator, run ALTER ROLE {role} BYPASSRLS; or allow the role to see every row:"
        f"{everything}{exempt}"
    )
