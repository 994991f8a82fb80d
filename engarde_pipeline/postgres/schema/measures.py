"""Helpers for a migration that adds a measure; see CONTRIBUTING.md.

A campaign's measure has a column in `campaign_metrics`, sums in `campaign_space_months`, `campaign_space_sums`,
`platform_days` and `metric_block_sums`, and a total on `campaign_spaces`; an asset's has one in
`campaign_asset_metrics`, and sums in `asset_platform_days` and `metric_block_sums`. Existing rows have 0 until
their dates are synced again. The columns keep their defaults, so that the previous version can still write while
the new one is deployed.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.core.metrics import Kind
from engarde_pipeline.postgres.schema.columns import column_type

_PLATFORM_DAYS = {"campaign_metrics": "platform_days", "campaign_asset_metrics": "asset_platform_days"}
_SUMS = {
    "campaign_metrics": ("campaign_space_months", "campaign_space_sums", "platform_days", "metric_block_sums"),
    "campaign_asset_metrics": ("asset_platform_days", "metric_block_sums"),
}
_KEYS = ("tenant_id", "metric_date", "platform", "currency")

_KEEP_PLATFORM_DAYS = """
CREATE OR REPLACE FUNCTION keep_{platform_days}() RETURNS trigger
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
        TRUNCATE {platform_days};
    END IF;
    RETURN NULL;
END
$$
"""

_ADD = """
INSERT INTO {platform_days} ({keys}, row_count, {measures})
SELECT {keys}, sum(sign), {sums}
FROM ({rows}) AS rows
GROUP BY {keys}
"""

_ADD_AND_NOTE = """
WITH parts AS ({add} RETURNING metric_date)
INSERT INTO due_blocks (table_name, metric_date) SELECT DISTINCT '{table}', metric_date FROM parts
"""

_ADDED, _REMOVED = "SELECT 1 AS sign, * FROM added", "SELECT -1 AS sign, * FROM removed"

_OWNS_CAMPAIGN_SPACES = sa.text(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('campaign_spaces')"
)


def add_measure(table: str, name: str, kind: Kind) -> None:
    """Add a measure to `campaign_metrics` or `campaign_asset_metrics`, and to the tables with its sums."""
    op.add_column(table, sa.Column(name, column_type(kind), nullable=False, server_default="0"))
    for sums in _SUMS[table]:
        column = sa.Column(name, sa.Numeric, nullable=False, server_default="0")
        op.add_column(sums, column, if_not_exists=True)  # the other table may have a measure of this name
    replace_platform_days_function(table)
    if table != "campaign_metrics":
        return
    # The table belongs to the application: without the right to add the column, there is no total.
    if op.get_bind().scalar(_OWNS_CAMPAIGN_SPACES):
        op.add_column("campaign_spaces", sa.Column(f"total_{name}", column_type(kind)), if_not_exists=True)


def drop_measure(table: str, name: str) -> None:
    """Drop what `add_measure` added, for a downgrade, except the total of the application's table."""
    op.drop_column(table, name)
    inspector = sa.inspect(op.get_bind())
    others = {column["name"] for other in _SUMS.keys() - {table} for column in inspector.get_columns(other)}
    for sums in _SUMS[table]:
        if sums != "metric_block_sums" or name not in others:
            op.drop_column(sums, name)
    replace_platform_days_function(table)


def replace_platform_days_function(table: str = "campaign_metrics") -> None:
    """Let the triggers on `table` (migrations 0005 and 0014) sum the measures that its sums per platform have.

    They sum per currency if there is that column (migration 0011), and note the dates whose blocks are due if
    there are blocks (migration 0014).
    """
    connection, platform_days = op.get_bind(), _PLATFORM_DAYS[table]
    schema = connection.scalar(sa.text("SELECT quote_ident(current_schema())"))
    inspector = sa.inspect(connection)
    names = [column["name"] for column in inspector.get_columns(platform_days)]
    keys = [name for name in _KEYS if name in names]
    measures = [name for name in names if name not in {*keys, "row_count"}]
    has_blocks = inspector.has_table("due_blocks")

    def add(rows: str) -> str:
        statement = _ADD.format(
            platform_days=platform_days,
            keys=", ".join(keys),
            measures=", ".join(measures),
            sums=", ".join(f"sum(sign * {name})" for name in measures),
            rows=rows,
        )
        return _ADD_AND_NOTE.format(add=statement, table=table) if has_blocks else statement

    op.execute(
        _KEEP_PLATFORM_DAYS.format(
            platform_days=platform_days,
            schema=schema,
            add_inserted=add(_ADDED),
            add_updated=add(f"{_ADDED} UNION ALL {_REMOVED}"),
            add_deleted=add(_REMOVED),
        )
    )
