"""The performance tables, beside the application's own.

In production the application's `tenants`, `campaign_spaces` and `campaign_assets` are already there:
they are created only where missing, and `campaign_spaces` gets only the total columns it lacks. What
this migration creates it marks with a comment, and the downgrade removes only what bears that mark.
"""

from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OURS = "created by engarde_pipeline 0001"

AMOUNT = sa.Numeric(38, 6)
MOMENT = sa.DateTime(timezone=True)

TOTALS: dict[str, sa.types.TypeEngine[Any]] = {
    "total_impressions": sa.BigInteger(),
    "total_clicks": sa.BigInteger(),
    "total_spend": AMOUNT,
    "total_conversions": AMOUNT,
    "total_revenue": AMOUNT,
    "avg_ctr": sa.Numeric(),
    "avg_roas": sa.Numeric(),
    "performance_last_updated": MOMENT,
}


def upgrade() -> None:
    _create_application_tables_where_missing()
    _add_missing_total_columns()

    op.create_table(
        "campaign_metrics",
        _id(),
        _reference("tenant_id", "tenants.id"),
        _reference("campaign_space_id", "campaign_spaces.id"),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("metric_date", sa.Date, nullable=False),
        sa.Column("metric_hour", sa.SmallInteger),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("clicks", sa.BigInteger, nullable=False),
        sa.Column("spend", AMOUNT, nullable=False),
        sa.Column("conversions", AMOUNT, nullable=False),
        sa.Column("revenue", AMOUNT, nullable=False),
        _ratio("ctr", "100::numeric * clicks / nullif(impressions, 0)"),
        _ratio("cpc", "1::numeric * spend / nullif(clicks, 0)"),
        _ratio("cpm", "1000::numeric * spend / nullif(impressions, 0)"),
        _ratio("roas", "1::numeric * revenue / nullif(spend, 0)"),
        _ratio("conversion_rate", "100::numeric * conversions / nullif(clicks, 0)"),
        sa.Column("bigquery_sync_id", sa.Uuid, nullable=False),
        sa.Column("synced_from_bigquery_at", MOMENT, nullable=False),
        sa.CheckConstraint("metric_hour BETWEEN 0 AND 23", name="campaign_metrics_hour"),
    )
    op.create_index(
        "campaign_metrics_key",
        "campaign_metrics",
        ["campaign_space_id", "metric_date", "metric_hour"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("campaign_metrics_tenant_date", "campaign_metrics", ["tenant_id", "metric_date"])
    op.create_index("campaign_metrics_date_platform", "campaign_metrics", ["metric_date", "platform"])

    op.create_table(
        "campaign_space_months",
        sa.Column("campaign_space_id", sa.Uuid, primary_key=True),
        sa.Column("month", sa.Date, primary_key=True, comment="Its first day."),
        sa.Column("impressions", sa.Numeric, nullable=False),
        sa.Column("clicks", sa.Numeric, nullable=False),
        sa.Column("spend", sa.Numeric, nullable=False),
        sa.Column("conversions", sa.Numeric, nullable=False),
        sa.Column("revenue", sa.Numeric, nullable=False),
    )
    op.create_table(
        "changed_dates",
        sa.Column("metric_date", sa.Date, primary_key=True),
        sa.Column("changed_at", MOMENT, nullable=False, server_default=sa.text("now()")),
    )

    op.create_table(
        "campaign_asset_metrics",
        _id(),
        _reference("tenant_id", "tenants.id"),
        _reference("campaign_asset_id", "campaign_assets.id"),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("metric_date", sa.Date, nullable=False),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("clicks", sa.BigInteger, nullable=False),
        sa.Column("spend", AMOUNT, nullable=False),
        sa.Column("conversions", AMOUNT, nullable=False),
        sa.Column("revenue", AMOUNT, nullable=False),
        sa.Column("engagements", sa.BigInteger, nullable=False),
        _ratio("ctr", "100::numeric * clicks / nullif(impressions, 0)"),
        _ratio("engagement_rate", "100::numeric * engagements / nullif(impressions, 0)"),
        sa.Column("bigquery_sync_id", sa.Uuid, nullable=False),
        sa.Column("synced_from_bigquery_at", MOMENT, nullable=False),
    )
    op.create_index(
        "campaign_asset_metrics_key",
        "campaign_asset_metrics",
        ["campaign_asset_id", "metric_date"],
        unique=True,
    )
    op.create_index("campaign_asset_metrics_tenant_date", "campaign_asset_metrics", ["tenant_id", "metric_date"])
    op.create_index("campaign_asset_metrics_date_platform", "campaign_asset_metrics", ["metric_date", "platform"])

    op.create_table(
        "rejected_metric_rows",
        _id(),
        sa.Column("table_name", sa.Text, nullable=False, comment="The source table, and so the kind of record."),
        sa.Column("metric_date", sa.Date, nullable=False, comment="The partition."),
        sa.Column("keys", JSONB, nullable=False, comment="The record's keys as BigQuery has them."),
        sa.Column("key_digest", BYTEA, nullable=False, comment="SHA-256 of keys: ids can be too long to index."),
        sa.Column("measures", JSONB, nullable=False, comment="The sums over its source rows, and their number."),
        sa.Column("reason_code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, comment="What is wrong and what to do."),
        sa.Column(
            "kept_row_ids",
            sa.ARRAY(sa.Uuid),
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="Rows of the target that keep an earlier, good value because of this record.",
        ),
        sa.Column("run_id", sa.Uuid, nullable=False, comment="The Dagster run that last rejected it."),
        sa.Column("first_seen_at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("last_seen_at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column(
            "resolved_at",
            MOMENT,
            comment="When a later sync loaded it, or found that BigQuery no longer has it.",
        ),
    )
    op.create_index(
        "rejected_metric_rows_open",
        "rejected_metric_rows",
        ["table_name", "metric_date", "key_digest"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("rejected_metric_rows")
    op.drop_table("campaign_asset_metrics")
    op.drop_table("changed_dates")
    op.drop_table("campaign_space_months")
    op.drop_table("campaign_metrics")
    inspector = sa.inspect(op.get_bind())
    for column in inspector.get_columns("campaign_spaces"):
        if column.get("comment") == OURS:
            op.drop_column("campaign_spaces", column["name"])
    for table in ("campaign_assets", "campaign_spaces", "tenants"):
        if inspector.get_table_comment(table)["text"] == OURS:
            op.drop_table(table)


def _create_application_tables_where_missing() -> None:
    existing = set(sa.inspect(op.get_bind()).get_table_names())
    if "tenants" not in existing:
        op.create_table("tenants", _id(), sa.Column("name", sa.Text, nullable=False), comment=OURS)
    if "campaign_spaces" not in existing:
        op.create_table(
            "campaign_spaces",
            _id(),
            sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id"), nullable=False),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("platform", sa.Text, nullable=False),
            sa.Column("external_campaign_id", sa.Text),
            comment=OURS,
        )
    if "campaign_assets" not in existing:
        op.create_table(
            "campaign_assets",
            _id(),
            sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id"), nullable=False),
            sa.Column("campaign_space_id", sa.Uuid, sa.ForeignKey("campaign_spaces.id"), nullable=False),
            sa.Column("external_asset_id", sa.Text),
            sa.Column("name", sa.Text, nullable=False),
            comment=OURS,
        )


def _add_missing_total_columns() -> None:
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("campaign_spaces")}
    for name, column_type in TOTALS.items():
        if name not in existing:
            op.add_column("campaign_spaces", sa.Column(name, column_type, comment=OURS))


def _id() -> sa.Column[UUID]:
    return sa.Column("id", sa.Uuid(), primary_key=True, server_default=sa.text("gen_random_uuid()"))


def _ratio(name: str, expression: str) -> sa.Column[Decimal]:
    return sa.Column(name, sa.Numeric, sa.Computed(expression, persisted=True))


def _reference(name: str, target: str) -> sa.Column[UUID]:
    return sa.Column(name, sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), nullable=False)
