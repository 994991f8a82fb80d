"""The application may change its tables, and publish all of them.

The API's views held the columns `name` and `platform`: an application's migration that changed one of them failed.
A view depends on a whole row without depending on its columns, and the body of a function that is a string is read
when it is called. So the views stay, with the same columns, and hold `id` and `tenant_id` only. A SQL function of
one expression becomes part of the query that calls it: reading a platform costs what it did.

`platform_days` has no key. Where a publication includes the table, as one FOR ALL TABLES does, Postgres deletes
from it only if the old row can be told to subscribers: by all of its columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A name that the application no longer has is NULL.
VIEWS = {
    "tenants": "SELECT id, to_jsonb(t) ->> 'name' AS name FROM {table} t WHERE id = engarde_api.tenant_id()",
    "campaign_spaces": "SELECT id, tenant_id, to_jsonb(c) ->> 'name' AS name,"
    " engarde_api.platform_of(c) AS platform FROM {table} c WHERE tenant_id = engarde_api.tenant_id()",
}

# Of migration 0003.
EARLIER_VIEWS = {
    "tenants": "SELECT id, name FROM {table} WHERE id = engarde_api.tenant_id()",
    "campaign_spaces": "SELECT id, tenant_id, name, platform FROM {table}"
    " WHERE tenant_id = engarde_api.tenant_id()",
}

PLATFORM_OF = """
CREATE FUNCTION engarde_api.platform_of({table}) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT ($1).platform::text'
"""


def upgrade() -> None:
    op.execute(PLATFORM_OF.format(table=_qualified("campaign_spaces")))
    _replace_views(VIEWS)
    op.execute("ALTER TABLE platform_days REPLICA IDENTITY FULL")


def downgrade() -> None:
    op.execute("ALTER TABLE platform_days REPLICA IDENTITY DEFAULT")
    _replace_views(EARLIER_VIEWS)
    op.execute(f"DROP FUNCTION engarde_api.platform_of({_qualified('campaign_spaces')})")


def _replace_views(views: dict[str, str]) -> None:
    for name, query in views.items():
        op.execute(f"DROP VIEW engarde_api.{name}")
        op.execute(
            f"CREATE VIEW engarde_api.{name} WITH (security_barrier) AS {query.format(table=_qualified(name))}"
        )
        op.execute(f"GRANT SELECT ON engarde_api.{name} TO engarde_api")


def _qualified(table: str) -> str:
    """Return the name of an application's table with its schema, as the search_path finds it."""
    name = op.get_bind().scalar(
        sa.text(
            "SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE c.oid = to_regclass(:table)"
        ),
        {"table": table},
    )
    assert isinstance(name, str)  # noqa: S101  migration 0001 made sure of it
    return name
