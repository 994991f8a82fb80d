"""The application may change its tables, and publish all of them.

The API's views held the columns `name` and `platform`: an application's migration that changed one of them failed.
A view depends on a whole row without depending on its columns, and the body of a function that is a string is read
when it is called. So the views stay, with the same columns, and hold `id` and `tenant_id` only. A SQL function of
one expression becomes part of the query that calls it: reading a platform costs what it did.

`platform_days` has no key. Where a publication includes the table, as one FOR ALL TABLES does, Postgres deletes
from it only if the old row can be told to subscribers: by all of its columns.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A name that the application no longer has is NULL.
VIEWS = {
    "tenants": "SELECT id, to_jsonb(t) ->> 'name' AS name FROM tenants t WHERE id = engarde_api.tenant_id()",
    "campaign_spaces": "SELECT id, tenant_id, to_jsonb(c) ->> 'name' AS name,"
    " engarde_api.platform_of(c) AS platform FROM campaign_spaces c WHERE tenant_id = engarde_api.tenant_id()",
}

PLATFORM_OF = """
CREATE OR REPLACE FUNCTION engarde_api.platform_of(campaign_spaces) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT ($1).platform::text'
"""


def upgrade() -> None:
    op.execute(PLATFORM_OF)
    # Where the right of everyone to execute new functions was taken away by default.
    op.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA engarde_api TO engarde_api")
    for name, query in VIEWS.items():
        op.execute(f"DROP VIEW engarde_api.{name}")
        op.execute(f"CREATE VIEW engarde_api.{name} WITH (security_barrier) AS {query}")
        op.execute(f"GRANT SELECT ON engarde_api.{name} TO engarde_api")
    op.execute("ALTER TABLE platform_days REPLICA IDENTITY FULL")


def downgrade() -> None:
    # The views stay: they have the same columns, and the application may have dropped what the earlier ones held.
    op.execute("ALTER TABLE platform_days REPLICA IDENTITY DEFAULT")
