"""A row's tenant is its campaign space's: one foreign key of two columns in place of two foreign keys.

* `campaign_metrics` refers to `campaign_spaces (tenant_id, id)`, with ON DELETE and ON UPDATE CASCADE: no row can
  have another tenant than its campaign space, and a campaign space that moves to another tenant takes its rows
  along. That the tenant exists is ensured by the application's foreign key of `campaign_spaces`.
* `campaign_asset_metrics` keeps the foreign key to `campaign_assets`, and loses that to `tenants`. There cannot be
  a composite one: an asset's tenant is its campaign space's, whatever the application's own column says. A trigger
  on `campaign_assets` lets the rows of an asset follow it to a campaign space of another tenant; for a campaign
  space that moves, the trigger of migration 0007 does so.

The foreign keys are created NOT VALID, so that no table is read under the locks of this transaction.
`composite_key` validates them afterwards, and creates the index beforehand if `campaign_spaces` exists.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.postgres.schema import composite_key

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FOLLOW_TENANT = """
CREATE OR REPLACE FUNCTION metrics_follow_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schemas}, pg_temp
AS $$
BEGIN
    {campaigns}
    UPDATE campaign_asset_metrics SET tenant_id = NEW.tenant_id
    WHERE campaign_asset_id IN (SELECT id FROM campaign_assets WHERE campaign_space_id = NEW.id);
    RETURN NULL;
END
$$
"""

CAMPAIGNS = "UPDATE campaign_metrics SET tenant_id = NEW.tenant_id WHERE campaign_space_id = NEW.id;"

FOLLOW_CAMPAIGN_SPACE = """
CREATE FUNCTION asset_metrics_follow_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schemas}, pg_temp
AS $$
BEGIN
    UPDATE campaign_asset_metrics m SET tenant_id = c.tenant_id
    FROM campaign_spaces c
    WHERE c.id = NEW.campaign_space_id AND m.campaign_asset_id = NEW.id AND m.tenant_id <> c.tenant_id;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    connection = op.get_bind()
    if not connection.scalar(sa.text(composite_key.HAS_INDEX)):
        op.execute(composite_key.CREATE_INDEX)
    # Together with its triggers, a foreign key to be dropped needs exclusive locks: of this table first, which is
    # locked for writers already.
    for table, column in (
        ("campaign_metrics", "campaign_space_id"),
        ("campaign_metrics", "tenant_id"),
        ("campaign_asset_metrics", "tenant_id"),
    ):
        op.drop_constraint(f"{table}_{column}_fkey", table)
    op.create_foreign_key(
        "campaign_metrics_campaign_space_fkey",
        "campaign_metrics",
        "campaign_spaces",
        ["tenant_id", "campaign_space_id"],
        ["tenant_id", "id"],
        ondelete="CASCADE",
        onupdate="CASCADE",
        postgresql_not_valid=True,
    )
    op.execute(FOLLOW_TENANT.format(schemas=_schemas(), campaigns=""))
    op.execute(FOLLOW_CAMPAIGN_SPACE.format(schemas=_schemas()))
    op.execute("REVOKE ALL ON FUNCTION asset_metrics_follow_tenant() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER asset_metrics_follow_tenant AFTER UPDATE OF campaign_space_id ON campaign_assets"
        " FOR EACH ROW WHEN (NEW.campaign_space_id <> OLD.campaign_space_id)"
        " EXECUTE FUNCTION asset_metrics_follow_tenant()"
    )


def downgrade() -> None:
    op.drop_constraint("campaign_metrics_campaign_space_fkey", "campaign_metrics")
    for table, column, target in (
        ("campaign_metrics", "campaign_space_id", "campaign_spaces"),
        ("campaign_metrics", "tenant_id", "tenants"),
        ("campaign_asset_metrics", "tenant_id", "tenants"),
    ):
        op.create_foreign_key(
            f"{table}_{column}_fkey",
            table,
            target,
            [column],
            ["id"],
            ondelete="CASCADE",
            postgresql_not_valid=True,
        )
    op.execute("DROP TRIGGER asset_metrics_follow_tenant ON campaign_assets")
    op.execute("DROP FUNCTION asset_metrics_follow_tenant()")
    op.execute(FOLLOW_TENANT.format(schemas=_schemas(), campaigns=CAMPAIGNS))
    # Not the application's own, which it may have had before.
    for index in op.get_bind().scalars(sa.text(composite_key.OUR_INDEX)).all():
        op.execute(f"DROP INDEX {index}")


def _schemas() -> str:
    # The application's tables may lie in another schema than ours.
    return str(
        op.get_bind().scalar(
            sa.text("SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name")
        )
    )
