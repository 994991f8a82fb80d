"""Helpers for a migration that adds a measure; see CONTRIBUTING.md.

A campaign's measure has a column in `campaign_metrics`, sums in `campaign_space_months` and `platform_days`, and a
total on `campaign_spaces`. Existing rows have 0 until their dates are synced again. The columns keep
their defaults, so that the previous version can still write while the new one is deployed.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.core.metrics import Kind
from engarde_pipeline.postgres.schema.tables import column_type

_SUMS = ("campaign_space_months", "platform_days")
_KEYS_OF_SUMS = {"tenant_id", "metric_date", "platform", "row_count"}

_KEEP_PLATFORM_DAYS = """
CREATE OR REPLACE FUNCTION keep_platform_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        {add_inserted};
    ELSIF TG_OP = 'UPDATE' THEN
        {add_updated};
    ELSIF TG_OP = 'DELETE' THEN
        {add_deleted};
    ELSE
        TRUNCATE platform_days;
    END IF;
    RETURN NULL;
END
$$
"""

_ADD = """
INSERT INTO platform_days (tenant_id, metric_date, platform, row_count, {measures})
SELECT tenant_id, metric_date, platform, sum(sign), {sums}
FROM ({rows}) AS rows
GROUP BY tenant_id, metric_date, platform
"""

_ADDED, _REMOVED = "SELECT 1 AS sign, * FROM added", "SELECT -1 AS sign, * FROM removed"

_OWNS_CAMPAIGN_SPACES = sa.text(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('campaign_spaces')"
)


def add_measure(table: str, name: str, kind: Kind) -> None:
    """Add a measure to `campaign_metrics` or `campaign_asset_metrics`, and to the tables with its sums."""
    op.add_column(table, sa.Column(name, column_type(kind), nullable=False, server_default="0"))
    if table != "campaign_metrics":
        return
    for sums in _SUMS:
        op.add_column(sums, sa.Column(name, sa.Numeric, nullable=False, server_default="0"))
    _replace_platform_days()
    # The table belongs to the application: without the right to add the column, there is no total.
    if op.get_bind().scalar(_OWNS_CAMPAIGN_SPACES):
        op.add_column("campaign_spaces", sa.Column(f"total_{name}", column_type(kind)), if_not_exists=True)


def drop_measure(table: str, name: str) -> None:
    """Drop what `add_measure` added, for a downgrade, except the total of the application's table."""
    op.drop_column(table, name)
    if table == "campaign_metrics":
        for sums in _SUMS:
            op.drop_column(sums, name)
        _replace_platform_days()


def _replace_platform_days() -> None:
    """Let the triggers on `campaign_metrics` (migration 0005) sum all measures of `platform_days`."""
    connection = op.get_bind()
    schema = connection.scalar(sa.text("SELECT quote_ident(current_schema())"))
    names = [column["name"] for column in sa.inspect(connection).get_columns("platform_days")]
    measures = [name for name in names if name not in _KEYS_OF_SUMS]

    def add(rows: str) -> str:
        sums = ", ".join(f"sum(sign * {name})" for name in measures)
        return _ADD.format(measures=", ".join(measures), sums=sums, rows=rows)

    op.execute(
        _KEEP_PLATFORM_DAYS.format(
            schema=schema,
            add_inserted=add(_ADDED),
            add_updated=add(f"{_ADDED} UNION ALL {_REMOVED}"),
            add_deleted=add(_REMOVED),
        )
    )
