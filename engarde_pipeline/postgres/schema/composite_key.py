"""What the composite foreign key (migration 0012) needs outside the migration's transaction.

Before it: a unique index on the application's `campaign_spaces (tenant_id, id)`, created concurrently, and no row
that contradicts the key. After it: the validation of the foreign keys, which the migration creates NOT VALID. So
neither readers nor writers wait while a large table is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.postgres.connection import open_connection
from engarde_pipeline.postgres.schema.refusals import MigrationRefused

REVISION = "0012"

INDEX = "campaign_spaces_engarde_tenant"

CREATE_INDEX = f"CREATE UNIQUE INDEX {INDEX} ON campaign_spaces (tenant_id, id)"

_CREATE_CONCURRENTLY = CREATE_INDEX.replace("INDEX", "INDEX CONCURRENTLY", 1)

WAIT_FOR_TRANSACTIONS = "10min"
"""How long the creation of the index waits for transactions that are open; nobody waits for it meanwhile."""

# A foreign key can refer to it, whoever created it.
HAS_INDEX: LiteralString = """
SELECT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = to_regclass('campaign_spaces')
      AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indnkeyatts = 2
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = i.indrelid AND a.attnum IN (i.indkey[0], i.indkey[1])
                ORDER BY a.attname COLLATE "C") = ARRAY['id', 'tenant_id'])
"""

OUR_INDEX: LiteralString = """
SELECT i.indexrelid::regclass::text
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass('campaign_spaces') AND c.relname = 'campaign_spaces_engarde_tenant'
"""

_LEFT_BY_AN_INTERRUPTED_UPGRADE = OUR_INDEX + " AND NOT i.indisvalid"

# An index of a partitioned table cannot be created concurrently; the migration creates it, as that of a new table.
_CAN_BE_CONCURRENT = "SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass('campaign_spaces')"

_OTHER_OWNER = """
SELECT quote_ident(pg_get_userbyid(relowner))
FROM pg_class
WHERE oid = to_regclass('campaign_spaces') AND NOT pg_has_role(current_user, relowner, 'USAGE')
"""

_SHOWN = 3

# The name is read through JSON, because the application's table may have no column `name`.
_CONTRADICTIONS = """
WITH wrong AS (
    SELECT m.campaign_space_id, m.tenant_id, count(*) AS rows,
           min(m.metric_date) AS first, max(m.metric_date) AS last
    FROM campaign_metrics m
    JOIN campaign_spaces c ON c.id = m.campaign_space_id
    WHERE c.tenant_id IS DISTINCT FROM m.tenant_id
    GROUP BY 1, 2
)
SELECT (sum(w.rows) OVER ())::bigint, count(*) OVER (), concat_ws(' ', c.id, to_jsonb(c) ->> 'name'),
       coalesce(c.tenant_id::text, 'none'), w.rows, w.tenant_id, w.first, w.last
FROM wrong w
JOIN campaign_spaces c ON c.id = w.campaign_space_id
ORDER BY w.rows DESC, c.id
LIMIT %s
"""

_MOVE = (
    "UPDATE campaign_metrics m SET tenant_id = c.tenant_id FROM campaign_spaces c"
    " WHERE c.id = m.campaign_space_id AND c.tenant_id <> m.tenant_id;"
)

_CORRECT = "UPDATE campaign_spaces SET tenant_id = ... WHERE id = ...;"

_NOT_VALIDATED = """
SELECT conrelid::regclass::text, quote_ident(conname)
FROM pg_constraint
WHERE contype = 'f' AND NOT convalidated
  AND conrelid = ANY(ARRAY(SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name))
ORDER BY 1, 2
"""


def obstacles(connection: psycopg.Connection, revision: str | None) -> list[str]:
    """Return what prevents the composite foreign key in a database at `revision`, with the cures.

    This reads all of `campaign_metrics`, if it is there.
    """
    found = []
    owner = connection.execute(_OTHER_OWNER).fetchone()
    if owner and connection.execute(HAS_INDEX).fetchone() == (False,):
        found.append(
            f"Only {owner[0]}, which owns campaign_spaces, may create the unique index that a foreign key needs:"
            f" upgrade with that role, or as that role run {_CREATE_CONCURRENTLY};"
        )
    return found + (_contradictions(connection) if revision else [])


def _contradictions(connection: psycopg.Connection) -> list[str]:
    examples = connection.execute(_CONTRADICTIONS, [_SHOWN]).fetchall()
    if not examples:
        return []
    rows, campaigns = examples[0][:2]
    named = "; ".join(
        f"campaign space {name}, which belongs to tenant {tenant}, has {count} of tenant {other}"
        f" ({first} to {last})"
        for _, _, name, tenant, count, other, first, last in examples
    )
    more = f"; and {campaigns - _SHOWN} more" if campaigns > _SHOWN else ""
    return [
        f"{rows} rows of campaign_metrics have another tenant than their campaign space: {named}{more}. If the"
        f" campaign spaces are right, move the rows: {_MOVE} If the rows are right, correct the campaign spaces:"
        f" {_CORRECT}"
    ]


@contextmanager
def unique_index(database_url: str) -> Iterator[None]:
    """Create the unique index that the foreign key refers to, where it is missing; drop it if the block fails.

    Raises:
        MigrationRefused: a transaction has been open for too long.
        psycopg.Error: the role may not create it, or its name is taken.
    """
    created = _create_index(database_url)
    try:
        yield
    except BaseException:
        if created:
            # An index too many does no harm, and the next upgrade uses it.
            with suppress(psycopg.Error), open_connection(database_url) as connection:
                connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}".encode())
        raise


def _create_index(database_url: str) -> bool:
    with open_connection(database_url) as connection:
        if connection.execute(_CAN_BE_CONCURRENT).fetchone() != (True,):
            return False
        if connection.execute(HAS_INDEX).fetchone() == (True,):
            return False
        # What an interrupted creation has left is not valid.
        for (index,) in connection.execute(_LEFT_BY_AN_INTERRUPTED_UPGRADE).fetchall():
            connection.execute(f"DROP INDEX CONCURRENTLY {index}".encode())
        try:
            connection.execute(sql.SQL("SET lock_timeout = {}").format(WAIT_FOR_TRANSACTIONS))
            connection.execute(_CREATE_CONCURRENTLY.encode())
        except psycopg.errors.LockNotAvailable:
            raise MigrationRefused(
                f"A transaction has been open for more than {WAIT_FOR_TRANSACTIONS}, and the index of"
                " campaign_spaces cannot be created before it ends. The schema was not changed. End it, see"
                " pg_stat_activity, and migrate again."
            ) from None
        finally:
            connection.execute("RESET lock_timeout")  # a pooler gives the server connection to others
    return True


def validate(engine: Engine) -> None:
    """Validate the foreign keys that are not validated yet, one by one; readers and writers go on.

    Raises:
        MigrationRefused: a row contradicts one; it stays for new rows.
    """
    names = [table.target for table in METRIC_TABLES]
    with engine.begin() as connection:
        found = connection.execute(text(_NOT_VALIDATED), {"names": names}).fetchall()
    for table, name in found:
        try:
            with engine.begin() as connection:
                connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))
        except DBAPIError as error:
            if not isinstance(error.orig, psycopg.errors.ForeignKeyViolation):
                raise
            raise MigrationRefused(
                f"The schema was migrated, but a row of {table} contradicts the foreign key {name}, which"
                f" therefore holds for new rows only: {error.orig.diag.message_detail} Correct the row,"
                " and migrate again."
            ) from None
