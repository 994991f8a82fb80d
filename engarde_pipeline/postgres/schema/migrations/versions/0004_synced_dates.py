"""Which version of BigQuery's partition each date has, noted beside the numbers.

It starts empty: on the next look each date that is known to be synced is synced once more, and found unchanged.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "synced_dates",
        sa.Column("table_name", sa.Text, primary_key=True, comment="The target table."),
        sa.Column("metric_date", sa.Date, primary_key=True, comment="The partition."),
        sa.Column("version", sa.Text, nullable=False, comment="Of BigQuery's partition, as it was read."),
        sa.Column("run_id", sa.Uuid, nullable=False, comment="The Dagster run that brought this version."),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )


def downgrade() -> None:
    op.drop_table("synced_dates")
