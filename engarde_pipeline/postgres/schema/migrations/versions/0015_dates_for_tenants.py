"""The API's role may read which dates are held, and which were synced without a source table.

These are the same for all tenants. The evidence of a held date and the version of a synced one have numbers of all
tenants, and stay hidden.

* `held_dates`: the table, the date and since when it is held.
* The view `engarde_api.synced_dates` has what the role may read of `synced_dates` since migration 0010, and
  `has_table`: whether BigQuery had the table.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SYNCED_DATES = (
    "SELECT table_name, metric_date, synced_at, compared_at, version <> 'missing' AS has_table FROM synced_dates"
)


def upgrade() -> None:
    op.execute("GRANT SELECT (table_name, metric_date, held_at) ON held_dates TO engarde_api")
    op.execute(f"CREATE VIEW engarde_api.synced_dates WITH (security_barrier) AS {SYNCED_DATES}")
    op.execute("GRANT SELECT ON engarde_api.synced_dates TO engarde_api")


def downgrade() -> None:
    op.execute("DROP VIEW engarde_api.synced_dates")
    op.execute("REVOKE ALL ON held_dates FROM engarde_api")
