"""Amounts of money have a currency (rule 13).

`currency` is NULL where the source has none, as in all rows that are there now. `campaign_space_months` has the
range of its rows' currencies: '' stands for none, and where the two differ, its sums of money mean nothing.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.postgres.schema.measures import replace_platform_days_function

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = {
    "campaign_metrics": "ISO 4217; NULL: the source has none.",
    "campaign_asset_metrics": "ISO 4217; NULL: the source has none.",
    "platform_days": "ISO 4217; NULL: the source has none.",
    "rejected_metric_rows": "As BigQuery has it; NULL: it has none, or the source rows disagree.",
}
RANGE = {"min_currency": "'' is none.", "max_currency": "If it is not min_currency, no sum of money is valid."}


def upgrade() -> None:
    for table, comment in COLUMNS.items():
        op.add_column(table, sa.Column("currency", sa.Text(), comment=comment))
    for name, comment in RANGE.items():
        op.add_column(
            "campaign_space_months",
            sa.Column(name, sa.Text(), nullable=False, server_default="", comment=comment),
        )
    replace_platform_days_function()


def downgrade() -> None:
    # The end of the versions of dates that were read with their currencies: after another upgrade, they are due.
    op.execute("UPDATE synced_dates SET version = replace(version, '-currency', '')")
    for table in COLUMNS:
        op.drop_column(table, "currency")
    for name in RANGE:
        op.drop_column("campaign_space_months", name)
    replace_platform_days_function()
