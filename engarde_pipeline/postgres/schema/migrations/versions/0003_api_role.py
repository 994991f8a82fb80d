"""The API's role, which sees one tenant: that of the transaction's `engarde.tenant_id`, or nothing.

On our own tables that is row-level security. Whoever else reads them today goes on reading them: a permissive
policy for everyone stands beside the restrictive one for the role. (A role that dumps these tables and neither
owns them nor has BYPASSRLS needs that now: `pg_dump` refuses tables with row security otherwise.)

On the application's tables there is no row-level security of ours. Enabling it would hide every row from those
of the application's roles that do not own them, and policies of the application's own might be there already,
which a permissive one would undo. The role has no right on them at all; it reads views in a schema of its own,
which filter with the same function and behind a security barrier.

The role belongs to the server, not to the database: a downgrade takes its rights and leaves it.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("campaign_metrics", "campaign_asset_metrics")

# Several databases of one server may be migrated at the same moment.
CREATE_ROLE = """
DO $$
BEGIN
    CREATE ROLE engarde_api NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$
"""

# Without the setting it is NULL, which equals no tenant.
TENANT_ID = """
CREATE FUNCTION engarde_api.tenant_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('engarde.tenant_id', true), '')::uuid
"""

# The search_path finds the application's tables, which may be in another schema than ours. A name that the
# application does not have is NULL.
VIEWS = {
    "tenants": "SELECT id, to_jsonb(t) ->> 'name' AS name FROM tenants t WHERE id = engarde_api.tenant_id()",
    "campaign_spaces": "SELECT id, tenant_id, to_jsonb(c) ->> 'name' AS name,"
    " to_jsonb(c) ->> 'platform' AS platform FROM campaign_spaces c"
    " WHERE tenant_id = engarde_api.tenant_id()",
}


def upgrade() -> None:
    _create_role_where_missing()
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute("CREATE SCHEMA engarde_api")
    op.execute(TENANT_ID)
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW engarde_api.{name} WITH (security_barrier) AS {query}")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everyone ON {table} USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY one_tenant ON {table} AS RESTRICTIVE TO engarde_api"
            " USING (tenant_id = engarde_api.tenant_id())"
        )
    op.execute(f"GRANT USAGE ON SCHEMA engarde_api, {schema} TO engarde_api")
    op.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO engarde_api")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA engarde_api TO engarde_api")


def downgrade() -> None:
    op.execute(f"REVOKE ALL ON {', '.join(TABLES)} FROM engarde_api")
    for table in TABLES:
        op.execute(f"DROP POLICY one_tenant ON {table}")
        op.execute(f"DROP POLICY everyone ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("DROP SCHEMA engarde_api CASCADE")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM engarde_api")


def _create_role_where_missing() -> None:
    bind = op.get_bind()
    if bind.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = 'engarde_api'")):
        return
    if not bind.scalar(sa.text("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")):
        raise CommandError(
            "The API's role is missing and may not be created by this one. Let an administrator run"
            " CREATE ROLE engarde_api NOLOGIN; and upgrade again"
        )
    op.execute(CREATE_ROLE)
