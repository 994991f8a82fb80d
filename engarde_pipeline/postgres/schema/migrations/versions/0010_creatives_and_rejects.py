"""The API reads creatives, names and rejected records, of one tenant per transaction.

* `rejected_metric_rows` gets `tenant_id`, computed from the keys. It is NULL where the tenant is malformed,
  unknown or could not be found: such records belong to no tenant, and no tenant sees them. Row-level security as
  in migration 0003: everyone else still sees every row.
* The view `engarde_api.campaign_assets`. An asset's tenant is its campaign space's. As in migration 0006, it
  refers to no column of the application that it does not need.
* `row_version` in the views of campaign spaces and assets changes whenever such a row does, so that the API can
  tell that a name has changed. By the external ids it finds the rejected records of a campaign or asset.
* The API's role may read which dates are synced and when they were compared with BigQuery: these columns of
  `synced_dates` are the same for all tenants. The others are sums over all of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TENANT_ID = """
CASE
    WHEN reason_code <> ALL (ARRAY['malformed_tenant'::text, 'unknown_tenant'::text])
         AND (keys ->> 'tenant_id'::text) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'::text
    THEN (keys ->> 'tenant_id'::text)::uuid
    ELSE NULL::uuid
END
"""

CAMPAIGN_SPACES = (
    "SELECT id, tenant_id, to_jsonb(c) ->> 'name' AS name, engarde_api.platform_of(c) AS platform{more}"
    " FROM campaign_spaces c WHERE tenant_id = engarde_api.tenant_id()"
)

MORE = ", to_jsonb(c) ->> 'external_campaign_id' AS external_campaign_id, c.xmin::text AS row_version"

# Both transaction ids: the campaign space's name is read through its assets, too.
CAMPAIGN_ASSETS = (
    "SELECT a.id, a.campaign_space_id, to_jsonb(a) ->> 'name' AS name,"
    " to_jsonb(a) ->> 'external_asset_id' AS external_asset_id, concat_ws(' ', a.xmin, c.xmin) AS row_version"
    " FROM campaign_assets a JOIN campaign_spaces c ON c.id = a.campaign_space_id"
    " WHERE c.tenant_id = engarde_api.tenant_id()"
)


def upgrade() -> None:
    op.add_column(
        "rejected_metric_rows",
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            sa.Computed(TENANT_ID, persisted=True),
            comment="NULL: of no known tenant.",
        ),
    )
    op.create_index(
        "rejected_metric_rows_tenant",
        "rejected_metric_rows",
        ["tenant_id", "metric_date", "id"],
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.execute("ALTER TABLE rejected_metric_rows ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everyone ON rejected_metric_rows USING (true) WITH CHECK (true)")
    op.execute(
        "CREATE POLICY one_tenant ON rejected_metric_rows AS RESTRICTIVE TO engarde_api"
        " USING (tenant_id = engarde_api.tenant_id())"
    )
    op.execute("GRANT SELECT ON rejected_metric_rows TO engarde_api")
    _create_view("campaign_spaces", CAMPAIGN_SPACES.format(more=MORE))
    _create_view("campaign_assets", CAMPAIGN_ASSETS)
    op.execute("GRANT SELECT (table_name, metric_date, synced_at, compared_at) ON synced_dates TO engarde_api")


def downgrade() -> None:
    op.execute("REVOKE ALL ON synced_dates FROM engarde_api")
    op.execute("DROP VIEW engarde_api.campaign_assets")
    _create_view("campaign_spaces", CAMPAIGN_SPACES.format(more=""))
    op.execute("REVOKE ALL ON rejected_metric_rows FROM engarde_api")
    op.execute("DROP POLICY one_tenant ON rejected_metric_rows")
    op.execute("DROP POLICY everyone ON rejected_metric_rows")
    op.execute("ALTER TABLE rejected_metric_rows DISABLE ROW LEVEL SECURITY")
    op.drop_index("rejected_metric_rows_tenant", "rejected_metric_rows")
    op.drop_column("rejected_metric_rows", "tenant_id")


def _create_view(name: str, query: str) -> None:
    op.execute(f"DROP VIEW IF EXISTS engarde_api.{name}")
    op.execute(f"CREATE VIEW engarde_api.{name} WITH (security_barrier) AS {query}")
    op.execute(f"GRANT SELECT ON engarde_api.{name} TO engarde_api")
