"""The API's role may read which dates are held, and which had no source table when they were synced.

These are the same for all tenants. The evidence of a held date and the version of a synced one have numbers of all
tenants, and stay hidden.

* `held_dates`: the table, the date and since when it is held.
* The view `engarde_api.dates_without_table`: the dates for which BigQuery had no such table.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

DATES_WITHOUT_TABLE = "SELECT table_name, metric_date FROM synced_dates WHERE version = 'missing'"


def upgrade() -> None:
    op.execute("GRANT SELECT (table_name, metric_date, held_at) ON held_dates TO engarde_api")
    op.execute(f"CREATE VIEW engarde_api.dates_without_table WITH (security_barrier) AS {DATES_WITHOUT_TABLE}")
    op.execute("GRANT SELECT ON engarde_api.dates_without_table TO engarde_api")


def downgrade() -> None:
    op.execute("DROP VIEW engarde_api.dates_without_table")
    op.execute("REVOKE ALL ON held_dates FROM engarde_api")
