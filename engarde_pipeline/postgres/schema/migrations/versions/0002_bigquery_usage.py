"""How many bytes BigQuery read on each day, for the daily budget."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bigquery_usage",
        sa.Column("day", sa.Date, primary_key=True, comment="In UTC."),
        sa.Column("bytes_read", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("bigquery_usage")
