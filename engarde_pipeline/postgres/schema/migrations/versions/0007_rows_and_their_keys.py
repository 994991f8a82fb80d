"""What becomes of rows when the application changes its own tables.

* `source_keys`: the keys under which records were loaded, so that their rows keep their last good value when the
  application changes a platform, an external id or a campaign's tenant. Filled with the keys of today for the rows
  that are there.
* `removed_rows`: dates that lost rows without a sync, or whose rows belong to another campaign space or asset now,
  since the application gave that one their keys. Triggers note what is deleted, except in a sync's transaction, in
  which `engarde.is_sync` is on. A note has its transaction's id in its key: two transactions never wait for each
  other, and one that removes many campaigns notes each date once.
* A trigger on `campaign_spaces`: a campaign space that moves to another tenant takes its metrics and its assets'
  metrics along, since a row's tenant is its campaign space's.

The functions have their owner's rights: whoever may change the application's tables need not be given ours.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

METRICS = ("campaign_metrics", "campaign_asset_metrics")

KEYS_OF_CAMPAIGNS = """
INSERT INTO source_keys (campaign_space_id, tenant_key, platform, campaign_id)
SELECT c.id, c.tenant_id::text, c.platform::text, c.external_campaign_id::text
FROM campaign_spaces c
WHERE c.external_campaign_id IS NOT NULL
  AND EXISTS (SELECT FROM campaign_metrics m WHERE m.campaign_space_id = c.id)
"""

KEYS_OF_ASSETS = """
INSERT INTO source_keys (campaign_asset_id, tenant_key, platform, campaign_id, asset_id)
SELECT a.id, c.tenant_id::text, c.platform::text, c.external_campaign_id::text,
       a.external_asset_id::text
FROM campaign_assets a
JOIN campaign_spaces c ON c.id = a.campaign_space_id
WHERE c.external_campaign_id IS NOT NULL AND a.external_asset_id IS NOT NULL
  AND EXISTS (SELECT FROM campaign_asset_metrics m WHERE m.campaign_asset_id = a.id)
"""

NOTE_REMOVED_ROWS = """
CREATE FUNCTION note_removed_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schemas}, pg_temp
AS $$
BEGIN
    IF current_setting('engarde.is_sync', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO removed_rows (table_name, metric_date)
        SELECT DISTINCT TG_TABLE_NAME, metric_date FROM removed
        ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO removed_rows (table_name, metric_date)
        SELECT table_name, metric_date FROM synced_dates WHERE table_name = TG_TABLE_NAME
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$
"""

FOLLOW_TENANT = """
CREATE FUNCTION metrics_follow_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schemas}, pg_temp
AS $$
BEGIN
    UPDATE campaign_metrics SET tenant_id = NEW.tenant_id WHERE campaign_space_id = NEW.id;
    UPDATE campaign_asset_metrics SET tenant_id = NEW.tenant_id
    WHERE campaign_asset_id IN (SELECT id FROM campaign_assets WHERE campaign_space_id = NEW.id);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    # The application's tables may lie in another schema than ours.
    schemas = op.get_bind().scalar(
        sa.text("SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name")
    )
    op.create_table(
        "source_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "campaign_space_id",
            sa.Uuid,
            sa.ForeignKey("campaign_spaces.id", ondelete="CASCADE"),
            comment="What records of campaign_metrics were loaded into.",
        ),
        sa.Column(
            "campaign_asset_id",
            sa.Uuid,
            sa.ForeignKey("campaign_assets.id", ondelete="CASCADE"),
            comment="What records of asset_metrics were loaded into.",
        ),
        sa.Column("tenant_key", sa.Text, nullable=False, comment="The tenant as BigQuery named it."),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False, comment="External."),
        sa.Column("asset_id", sa.Text, comment="External; of assets only."),
        sa.Column(
            "is_current",
            sa.Boolean,
            nullable=False,
            server_default=sa.true(),
            comment="Whether the keys led to it when they were last looked at.",
        ),
        comment="The keys under which records were loaded.",
    )
    op.create_index("source_keys_space", "source_keys", ["campaign_space_id"])
    op.create_index("source_keys_asset", "source_keys", ["campaign_asset_id"])
    # A hash: ids can be too long for a B-tree.
    op.create_index("source_keys_external", "source_keys", ["campaign_id"], postgresql_using="hash")
    op.create_table(
        "removed_rows",
        sa.Column("table_name", sa.Text, primary_key=True, comment="The target table."),
        sa.Column("metric_date", sa.Date, primary_key=True, comment="The partition."),
        sa.Column(
            "transaction_id",
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            comment="The transaction that removed rows.",
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        comment="Dates that are due since rows were removed, or belong to another campaign or asset now.",
    )
    op.execute(NOTE_REMOVED_ROWS.format(schemas=schemas))
    op.execute("REVOKE ALL ON FUNCTION note_removed_rows() FROM PUBLIC")
    for table in METRICS:
        for event, transition in {"DELETE": "REFERENCING OLD TABLE AS removed", "TRUNCATE": ""}.items():
            op.execute(
                f"CREATE TRIGGER note_removed_rows_{event.lower()} AFTER {event} ON {table} {transition}"
                " FOR EACH STATEMENT EXECUTE FUNCTION note_removed_rows()"
            )
    op.execute(FOLLOW_TENANT.format(schemas=schemas))
    op.execute("REVOKE ALL ON FUNCTION metrics_follow_tenant() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER metrics_follow_tenant AFTER UPDATE OF tenant_id ON campaign_spaces FOR EACH ROW"
        " WHEN (NEW.tenant_id <> OLD.tenant_id) EXECUTE FUNCTION metrics_follow_tenant()"
    )
    # The triggers came first: their creation holds back every writer until the keys are there.
    op.execute(KEYS_OF_CAMPAIGNS)
    op.execute(KEYS_OF_ASSETS)
    op.execute("ANALYZE source_keys")


def downgrade() -> None:
    op.execute("DROP TRIGGER metrics_follow_tenant ON campaign_spaces")
    op.execute("DROP FUNCTION metrics_follow_tenant()")
    for table in METRICS:
        for event in ("delete", "truncate"):
            op.execute(f"DROP TRIGGER note_removed_rows_{event} ON {table}")
    op.execute("DROP FUNCTION note_removed_rows()")
    op.drop_table("removed_rows")
    op.drop_table("source_keys")
