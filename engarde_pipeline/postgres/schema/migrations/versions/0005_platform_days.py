"""Sums per tenant, date and platform: what the API reads instead of every campaign's row.

Triggers keep them, so that they hold whoever writes: a sync, or the application that deletes a campaign. A
trigger does not change a sum, it puts what was added or taken away beside it, as one more row: so nobody waits for
anybody, and nothing can deadlock. Readers add the parts up; a sync, alone on its date, makes one row of them.

The function has its owner's rights: whoever may change the rows need not be given the sums. So nobody else may use
it, or a trigger on some other table could write any sum.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MEASURES = ("impressions", "clicks", "spend", "conversions", "revenue")

ADD = """
INSERT INTO platform_days
    (tenant_id, metric_date, platform, row_count, impressions, clicks, spend, conversions, revenue)
SELECT tenant_id, metric_date, platform, sum(sign), sum(sign * impressions), sum(sign * clicks),
       sum(sign * spend), sum(sign * conversions), sum(sign * revenue)
FROM ({rows}) AS rows
GROUP BY tenant_id, metric_date, platform
"""

ADDED, REMOVED = "SELECT 1 AS sign, * FROM added", "SELECT -1 AS sign, * FROM removed"

FUNCTION = f"""
CREATE FUNCTION keep_platform_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        {ADD.format(rows=ADDED)};
    ELSIF TG_OP = 'UPDATE' THEN
        {ADD.format(rows=f"{ADDED} UNION ALL {REMOVED}")};
    ELSIF TG_OP = 'DELETE' THEN
        {ADD.format(rows=REMOVED)};
    ELSE
        TRUNCATE platform_days;
    END IF;
    RETURN NULL;
END
$$
"""

TRANSITIONS = {
    "INSERT": "REFERENCING NEW TABLE AS added",
    "UPDATE": "REFERENCING OLD TABLE AS removed NEW TABLE AS added",
    "DELETE": "REFERENCING OLD TABLE AS removed",
    "TRUNCATE": "",
}


def upgrade() -> None:
    op.create_table(
        "platform_days",
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("metric_date", sa.Date, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column(
            "row_count", sa.BigInteger, nullable=False, comment="Rows of campaign_metrics added, less removed."
        ),
        *(sa.Column(name, sa.Numeric, nullable=False) for name in MEASURES),
        comment="Parts of sums, to be added up.",
    )
    op.create_index("platform_days_tenant_date", "platform_days", ["tenant_id", "metric_date"])
    op.create_index("platform_days_date", "platform_days", ["metric_date"])
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(FUNCTION.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION keep_platform_days() FROM PUBLIC")
    for event, transition in TRANSITIONS.items():
        op.execute(
            f"CREATE TRIGGER platform_days_{event.lower()} AFTER {event} ON campaign_metrics {transition}"
            " FOR EACH STATEMENT EXECUTE FUNCTION keep_platform_days()"
        )
    # The triggers came first: their creation holds back every writer until these sums are there.
    op.execute(ADD.format(rows="SELECT 1 AS sign, * FROM campaign_metrics"))
    op.execute("ANALYZE platform_days")
    op.execute("ALTER TABLE platform_days ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everyone ON platform_days USING (true) WITH CHECK (true)")
    op.execute(
        "CREATE POLICY one_tenant ON platform_days AS RESTRICTIVE TO engarde_api"
        " USING (tenant_id = engarde_api.tenant_id())"
    )
    op.execute("GRANT SELECT ON platform_days TO engarde_api")


def downgrade() -> None:
    for event in TRANSITIONS:
        op.execute(f"DROP TRIGGER platform_days_{event.lower()} ON campaign_metrics")
    op.execute("DROP FUNCTION keep_platform_days()")
    op.drop_table("platform_days")
