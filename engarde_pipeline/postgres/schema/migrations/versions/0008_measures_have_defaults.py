"""Measures have the default 0.

A version of the code that does not know a measure yet can then write beside one that does, so a measure can be
added while syncs run (see `postgres.schema.measures`).
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MEASURES = ("impressions", "clicks", "spend", "conversions", "revenue")
COLUMNS = {
    "campaign_metrics": MEASURES,
    "campaign_space_months": MEASURES,
    "platform_days": MEASURES,
    "campaign_asset_metrics": (*MEASURES, "engagements"),
}


def upgrade() -> None:
    for table, names in COLUMNS.items():
        for name in names:
            op.alter_column(table, name, server_default="0")


def downgrade() -> None:
    for table, names in COLUMNS.items():
        for name in names:
            op.alter_column(table, name, server_default=None)
