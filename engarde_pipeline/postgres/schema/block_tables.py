"""The tables for sums over blocks of dates (migration 0014); see `postgres.totals.metric_blocks`."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Identity,
    Index,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.postgres.schema.columns import currency, sum_of


def define_block_tables(metadata: MetaData) -> None:
    """Define the tables in `metadata`."""
    # What platform_days is for campaign_metrics.
    Table(
        "asset_platform_days",
        metadata,
        Column("tenant_id", Uuid, nullable=False),
        Column("metric_date", Date, nullable=False),
        Column("platform", Text, nullable=False),
        currency(),
        Column(
            "row_count", BigInteger, nullable=False, comment="Rows of campaign_asset_metrics added, less removed."
        ),
        *map(sum_of, ASSET_METRICS.measures),
        Index("asset_platform_days_tenant_date", "tenant_id", "metric_date"),
        Index("asset_platform_days_date", "metric_date"),
        comment="Parts of sums, to be added up.",
    )

    Table(
        "metric_blocks",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("table_name", Text, nullable=False, comment="The target table."),
        Column("tenant_id", Uuid, nullable=False),
        Column("days", SmallInteger, nullable=False, comment="The number of dates."),
        Column("first_date", Date, nullable=False),
        Column("version", Numeric, nullable=False, comment="Of the rows that were summed."),
        Index("metric_blocks_key", "table_name", "tenant_id", "days", "first_date", unique=True),
        comment="Blocks of dates whose sums are in metric_block_sums.",
    )

    Table(
        "metric_block_sums",
        metadata,
        Column("block_id", BigInteger, nullable=False),
        Column("tenant_id", Uuid, nullable=False),
        Column("subject_id", Uuid, nullable=False, comment="The campaign space or asset."),
        Column("platform", Text, nullable=False),
        currency(),
        *(sum_of(measure) for measure in dict.fromkeys(CAMPAIGN_METRICS.measures + ASSET_METRICS.measures)),
        Index("metric_block_sums_block", "block_id"),
        comment="A measure that the table of the block does not have is 0.",
    )

    # Written by the triggers that maintain the sums above, read when the blocks are updated.
    Table(
        "due_blocks",
        metadata,
        Column("table_name", Text, nullable=False, comment="The target table."),
        Column("metric_date", Date, nullable=False),
        comment="Dates that changed since their blocks were updated; can have duplicates.",
    )
