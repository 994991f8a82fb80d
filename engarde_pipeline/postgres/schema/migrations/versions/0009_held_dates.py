"""What the source had at each date's last sync, and the dates that are held (rules 5 and 12).

* `synced_dates` gets the source rows, records, impressions and spend (by currency) of the last sync, rejected
  records included, with which the next load of the date is compared. They are NULL until the date is synced again.
* `compared_at` in `synced_dates` is when the date was last found equal to BigQuery: later than `synced_at` if
  nothing was new.
* `held_dates`: dates whose last load was refused, with the reason and the evidence.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SOURCE: dict[str, sa.types.TypeEngine[Any]] = {
    "source_rows": sa.BigInteger(),
    "records": sa.BigInteger(),
    "impressions": sa.Numeric(),
    "spend": postgresql.JSONB(),
}


def upgrade() -> None:
    op.add_column(
        "synced_dates",
        sa.Column(
            "source_run_id",
            sa.Uuid(),
            comment="The run that noted the next four; not run_id if an older version has synced since.",
        ),
    )
    for name, kind in SOURCE.items():
        op.add_column("synced_dates", sa.Column(name, kind, comment="Of the source at the last sync."))
    op.add_column(
        "synced_dates",
        sa.Column(
            "compared_at",
            sa.DateTime(timezone=True),
            comment="When the date was last synced or found unchanged in BigQuery; NULL: at synced_at.",
        ),
    )
    op.create_table(
        "held_dates",
        sa.Column("table_name", sa.Text(), primary_key=True, comment="The target table."),
        sa.Column("metric_date", sa.Date(), primary_key=True, comment="The partition."),
        sa.Column("reason", sa.Text(), nullable=False, comment="would_shrink, repeated or grown."),
        sa.Column("evidence", sa.Text(), nullable=False, comment="What was found, and what to do."),
        sa.Column("run_id", sa.Uuid(), nullable=False, comment="The Dagster run that was refused."),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        comment="Dates whose last load was refused; their rows are those of the sync before.",
    )


def downgrade() -> None:
    op.drop_table("held_dates")
    for name in ("source_run_id", *SOURCE, "compared_at"):
        op.drop_column("synced_dates", name)
