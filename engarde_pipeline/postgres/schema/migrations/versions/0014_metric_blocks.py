"""Sums per campaign and asset over blocks of dates, for tenants with thousands of them (decision 18).

* `asset_platform_days` is for `campaign_asset_metrics` what `platform_days` is for `campaign_metrics` (0005).
* `metric_blocks` and `metric_block_sums` are the blocks and their sums. `due_blocks` are the dates whose blocks
  have to be updated; the triggers note them. All existing dates are due, so the next sync fills the blocks; until
  then, the API sums rows, as before.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.postgres.schema.measures import replace_platform_days_function

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MEASURES = ("impressions", "clicks", "spend", "conversions", "revenue", "engagements")
TRANSITIONS = {
    "INSERT": "REFERENCING NEW TABLE AS added",
    "UPDATE": "REFERENCING OLD TABLE AS removed NEW TABLE AS added",
    "DELETE": "REFERENCING OLD TABLE AS removed",
    "TRUNCATE": "",
}
READ_BY_API = ("asset_platform_days", "metric_blocks", "metric_block_sums")

FILL = """
INSERT INTO asset_platform_days (tenant_id, metric_date, platform, currency, row_count, {measures})
SELECT tenant_id, metric_date, platform, currency, count(*), {sums}
FROM campaign_asset_metrics
GROUP BY tenant_id, metric_date, platform, currency
"""

NOTE_ALL = """
INSERT INTO due_blocks (table_name, metric_date)
SELECT DISTINCT 'campaign_metrics', metric_date FROM platform_days
UNION ALL
SELECT DISTINCT 'campaign_asset_metrics', metric_date FROM asset_platform_days
"""


def upgrade() -> None:
    op.create_table(
        "asset_platform_days",
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("metric_date", sa.Date, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, comment="ISO 4217; NULL: the source has none."),
        sa.Column(
            "row_count",
            sa.BigInteger,
            nullable=False,
            comment="Rows of campaign_asset_metrics added, less removed.",
        ),
        *_sums(),
        comment="Parts of sums, to be added up.",
    )
    op.create_index("asset_platform_days_tenant_date", "asset_platform_days", ["tenant_id", "metric_date"])
    op.create_index("asset_platform_days_date", "asset_platform_days", ["metric_date"])
    op.create_table(
        "metric_blocks",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("table_name", sa.Text, nullable=False, comment="The target table."),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("days", sa.SmallInteger, nullable=False, comment="The number of dates."),
        sa.Column("first_date", sa.Date, nullable=False),
        sa.Column("version", sa.Numeric, nullable=False, comment="Of the rows that were summed."),
        comment="Blocks of dates whose sums are in metric_block_sums.",
    )
    op.create_index(
        "metric_blocks_key", "metric_blocks", ["table_name", "tenant_id", "days", "first_date"], unique=True
    )
    op.create_table(
        "metric_block_sums",
        sa.Column("block_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("subject_id", sa.Uuid, nullable=False, comment="The campaign space or asset."),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, comment="ISO 4217; NULL: the source has none."),
        *_sums(),
        comment="A measure that the table of the block does not have is 0.",
    )
    op.create_index("metric_block_sums_block", "metric_block_sums", ["block_id"])
    op.create_table(
        "due_blocks",
        sa.Column("table_name", sa.Text, nullable=False, comment="The target table."),
        sa.Column("metric_date", sa.Date, nullable=False),
        comment="Dates that changed since their blocks were updated; can have duplicates.",
    )
    for table in ("asset_platform_days", "metric_block_sums", "due_blocks"):  # without a key; see migration 0006
        op.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
    replace_platform_days_function("campaign_metrics")
    replace_platform_days_function("campaign_asset_metrics")
    op.execute("REVOKE ALL ON FUNCTION keep_asset_platform_days() FROM PUBLIC")
    for event, transition in TRANSITIONS.items():
        op.execute(
            f"CREATE TRIGGER asset_platform_days_{event.lower()} AFTER {event} ON campaign_asset_metrics"
            f" {transition} FOR EACH STATEMENT EXECUTE FUNCTION keep_asset_platform_days()"
        )
    # The triggers came first: their creation holds back every writer until these sums are there.
    op.execute(FILL.format(measures=", ".join(MEASURES), sums=", ".join(f"sum({name})" for name in MEASURES)))
    op.execute(NOTE_ALL)
    op.execute("ANALYZE asset_platform_days")
    for table in READ_BY_API:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everyone ON {table} USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY one_tenant ON {table} AS RESTRICTIVE TO engarde_api"
            " USING (tenant_id = engarde_api.tenant_id())"
        )
        op.execute(f"GRANT SELECT ON {table} TO engarde_api")


def downgrade() -> None:
    for event in TRANSITIONS:
        op.execute(f"DROP TRIGGER asset_platform_days_{event.lower()} ON campaign_asset_metrics")
    op.execute("DROP FUNCTION keep_asset_platform_days()")
    for table in ("due_blocks", "metric_block_sums", "metric_blocks", "asset_platform_days"):
        op.drop_table(table)
    replace_platform_days_function("campaign_metrics")


def _sums() -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Numeric, nullable=False, server_default="0") for name in MEASURES]
