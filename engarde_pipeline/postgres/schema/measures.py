"""Helpers for a migration that adds a measure; see CONTRIBUTING.md.

A campaign's measure has a column in `campaign_metrics`, sums in `campaign_space_months`, `campaign_space_sums` and
`platform_days`, and a total on `campaign_spaces`. Existing rows have 0 until their dates are synced again. The
columns keep their defaults, so that the previous version can still write while the new one is deployed.
"""

import sqlalchemy as sa
from alembic import op

from engarde_pipeline.core.metrics import Kind
from engarde_pipeline.postgres.schema.columns import column_type

_SUMS = ("campaign_space_months", "campaign_space_sums", "platform_days")
_KEYS = ("tenant_id", "metric_date", "platform", "currency")

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
INSERT INTO platform_days ({keys}, row_count, {measures})
SELECT {keys}, sum(sign), {sums}
FROM ({rows}) AS rows
GROUP BY {keys}
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
    replace_platform_days_function()
    # The table belongs to the application: without the right to add the column, there is no total.
    if op.get_bind().scalar(_OWNS_CAMPAIGN_SPACES):
        op.add_column("campaign_spaces", sa.Column(f"total_{name}", column_type(kind)), if_not_exists=True)


def drop_measure(table: str, name: str) -> None:
    """Drop what `add_measure` added, for a downgrade, except the total of the application's table."""
    op.drop_column(table, name)
    if table == "campaign_metrics":
        for sums in _SUMS:
            op.drop_column(sums, name)
        replace_platform_days_function()


def replace_platform_days_function() -> None:
    """Let the triggers on `campaign_metrics` (migration 0005) sum the measures that `platform_days` has.

    They sum per currency if it has that column (migration 0011).
    """
    connection = op.get_bind()
    schema = connection.scalar(sa.text("SELECT quote_ident(current_schema())"))
    names = [column["name"] for column in sa.inspect(connection).get_columns("platform_days")]
    keys = [name for name in _KEYS if name in names]
    measures = [name for name in names if name not in {*keys, "row_count"}]

    def add(rows: str) -> str:
        sums = ", ".join(f"sum(sign * {name})" for name in measures)
        return _ADD.format(keys=", ".join(keys), measures=", ".join(measures), sums=sums, rows=rows)

    op.execute(
        _KEEP_PLATFORM_DAYS.format(
            schema=schema,
            add_inserted=add(_ADDED),
            add_updated=add(f"{_ADDED} UNION ALL {_REMOVED}"),
            add_deleted=add(_REMOVED),
        )
    )
