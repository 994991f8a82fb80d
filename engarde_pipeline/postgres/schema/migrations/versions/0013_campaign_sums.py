"""The sums of each campaign space over all dates, so that totals are updated by differences (ADR 17).

* `campaign_space_sums` stays empty: the next update of the totals computes it from `campaign_space_months`.
* A trigger empties it when something else than an update of the sums writes months: a process of the version
  before, or a person. Its function has its owner's rights, because that version has none on the new table.
* The primary key of `campaign_space_months` begins with the month, because an update reads whole months.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MEASURES = ("impressions", "clicks", "spend", "conversions", "revenue")

FORGET_SUMS = """
CREATE FUNCTION forget_campaign_space_sums() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp
AS $$
BEGIN
    DELETE FROM campaign_space_sums;
    RETURN NULL;
END
$$
"""

TRIGGER = """
CREATE TRIGGER forget_campaign_space_sums
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON campaign_space_months
FOR EACH STATEMENT
WHEN (current_setting('engarde.adds_differences', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION forget_campaign_space_sums()
"""


def upgrade() -> None:
    op.create_table(
        "campaign_space_sums",
        sa.Column("campaign_space_id", sa.Uuid, primary_key=True),
        *(sa.Column(name, sa.Numeric, nullable=False, server_default="0") for name in MEASURES),
        sa.Column("min_currency", sa.Text, nullable=False, server_default="", comment="'' is none."),
        sa.Column(
            "max_currency",
            sa.Text,
            nullable=False,
            server_default="",
            comment="If it is not min_currency, no sum of money is valid.",
        ),
        comment="Sums of campaign_space_months; empty: to be computed from all months.",
    )
    op.drop_constraint("campaign_space_months_pkey", "campaign_space_months")
    op.create_primary_key("campaign_space_months_pkey", "campaign_space_months", ["month", "campaign_space_id"])
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(FORGET_SUMS.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION forget_campaign_space_sums() FROM PUBLIC")
    op.execute(TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER forget_campaign_space_sums ON campaign_space_months")
    op.execute("DROP FUNCTION forget_campaign_space_sums()")
    op.drop_constraint("campaign_space_months_pkey", "campaign_space_months")
    op.create_primary_key("campaign_space_months_pkey", "campaign_space_months", ["campaign_space_id", "month"])
    op.drop_table("campaign_space_sums")
