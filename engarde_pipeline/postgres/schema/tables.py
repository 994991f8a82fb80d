"""The tables of the target database, as the newest migration leaves them.

`tenants`, `campaign_spaces` and `campaign_assets` belong to the application; only the columns that
the pipeline reads or writes are defined here. `block_tables` defines those for sums over blocks of dates.
"""

from typing import LiteralString

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, Measure, MetricTable, Ratio
from engarde_pipeline.postgres.schema.block_tables import define_block_tables
from engarde_pipeline.postgres.schema.columns import column_type, currency, range_of_currencies, sum_of

metadata = MetaData()
define_block_tables(metadata)


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()"))


def _measure(measure: Measure) -> Column[object]:
    return Column(measure.name, column_type(measure.kind), nullable=False, server_default=text("0"))


def ratio_sql(ratio: Ratio) -> LiteralString:
    """Return the expression for `ratio` over the columns of its measures, NULL if the denominator is zero."""
    # The factor is numeric, because two counts would be divided as integers.
    return f"{ratio.factor}::numeric * {ratio.numerator} / nullif({ratio.denominator}, 0)"


def _numbers(table: MetricTable) -> list[Column[object]]:
    return [
        *(_measure(measure) for measure in table.measures),
        *(Column(ratio.name, Numeric, Computed(ratio_sql(ratio), persisted=True)) for ratio in table.ratios),
        Column("bigquery_sync_id", Uuid, nullable=False),
        Column("synced_from_bigquery_at", DateTime(timezone=True), nullable=False),
        currency(),
    ]


tenants = Table("tenants", metadata, _id(), Column("name", Text, nullable=False))

campaign_spaces = Table(
    "campaign_spaces",
    metadata,
    _id(),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("external_campaign_id", Text),
    *(Column(f"total_{measure.name}", column_type(measure.kind)) for measure in CAMPAIGN_METRICS.measures),
    Column("avg_ctr", Numeric),
    Column("avg_roas", Numeric),
    Column("performance_last_updated", DateTime(timezone=True)),
    # For the foreign key of campaign_metrics; the application may have one of its own.
    Index("campaign_spaces_engarde_tenant", "tenant_id", "id", unique=True),
)

campaign_assets = Table(
    "campaign_assets",
    metadata,
    _id(),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("campaign_space_id", ForeignKey("campaign_spaces.id"), nullable=False),
    Column("external_asset_id", Text),
    Column("name", Text, nullable=False),
)

campaign_metrics = Table(
    CAMPAIGN_METRICS.target,
    metadata,
    _id(),
    Column("tenant_id", Uuid, nullable=False),
    Column("campaign_space_id", Uuid, nullable=False),
    Column("platform", Text, nullable=False),
    Column("metric_date", Date, nullable=False),
    Column("metric_hour", SmallInteger),
    *_numbers(CAMPAIGN_METRICS),
    CheckConstraint("metric_hour BETWEEN 0 AND 23", name="campaign_metrics_hour"),
    # A row's tenant is its campaign space's, also after that has moved to another one.
    ForeignKeyConstraint(
        ["tenant_id", "campaign_space_id"],
        ["campaign_spaces.tenant_id", "campaign_spaces.id"],
        name="campaign_metrics_campaign_space_fkey",
        ondelete="CASCADE",
        onupdate="CASCADE",
    ),
    # One row per campaign space, date and hour; also serves (campaign_space_id, metric_date).
    Index(
        "campaign_metrics_key",
        "campaign_space_id",
        "metric_date",
        "metric_hour",
        unique=True,
        postgresql_nulls_not_distinct=True,
    ),
    Index("campaign_metrics_tenant_date", "tenant_id", "metric_date"),
    # The date first, to find a whole partition for the merge, and the rows of a platform in a range of dates.
    Index("campaign_metrics_date_platform", "metric_date", "platform"),
)

# Maintained by triggers on campaign_metrics (migration 0005). Rows are parts of sums, so there is no key.
platform_days = Table(
    "platform_days",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("metric_date", Date, nullable=False),
    Column("platform", Text, nullable=False),
    Column("row_count", BigInteger, nullable=False, comment="Rows of campaign_metrics added, less removed."),
    *map(sum_of, CAMPAIGN_METRICS.measures),
    currency(),
    Index("platform_days_tenant_date", "tenant_id", "metric_date"),
    Index("platform_days_date", "metric_date"),
    comment="Parts of sums, to be added up.",
)

# For the totals: sums per campaign space and month, and over all months. There are no foreign keys, because
# checking them for every row is slow; the sums of a deleted campaign space are never read. The key begins with the
# month, because an update of the totals reads and writes whole months.
campaign_space_months = Table(
    "campaign_space_months",
    metadata,
    Column("campaign_space_id", Uuid),
    Column("month", Date, comment="Its first day."),
    *map(sum_of, CAMPAIGN_METRICS.measures),
    *range_of_currencies(),
    PrimaryKeyConstraint("month", "campaign_space_id"),
)

# A trigger empties it when something else than an update of the totals writes months (migration 0013).
campaign_space_sums = Table(
    "campaign_space_sums",
    metadata,
    Column("campaign_space_id", Uuid, primary_key=True),
    *map(sum_of, CAMPAIGN_METRICS.measures),
    *range_of_currencies(),
    comment="Sums of campaign_space_months; empty: to be computed from all months.",
)

# Dates that changed since the last update of the totals.
changed_dates = Table(
    "changed_dates",
    metadata,
    Column("metric_date", Date, primary_key=True),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

campaign_asset_metrics = Table(
    ASSET_METRICS.target,
    metadata,
    _id(),
    Column("tenant_id", Uuid, nullable=False),
    Column("campaign_asset_id", ForeignKey("campaign_assets.id", ondelete="CASCADE"), nullable=False),
    Column("platform", Text, nullable=False),
    Column("metric_date", Date, nullable=False),
    *_numbers(ASSET_METRICS),
    Index("campaign_asset_metrics_key", "campaign_asset_id", "metric_date", unique=True),
    Index("campaign_asset_metrics_tenant_date", "tenant_id", "metric_date"),
    Index("campaign_asset_metrics_date_platform", "metric_date", "platform"),
)

# As Postgres renders it, with which Alembic compares it.
_REJECTED_TENANT = """
CASE
    WHEN reason_code <> ALL (ARRAY['malformed_tenant'::text, 'unknown_tenant'::text])
         AND (keys ->> 'tenant_id'::text) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'::text
    THEN (keys ->> 'tenant_id'::text)::uuid
    ELSE NULL::uuid
END
"""

rejected_metric_rows = Table(
    "rejected_metric_rows",
    metadata,
    _id(),
    Column("table_name", Text, nullable=False, comment="The source table, and so the kind of record."),
    Column("metric_date", Date, nullable=False, comment="The partition."),
    Column("keys", JSONB, nullable=False, comment="The record's keys as BigQuery has them."),
    Column("key_digest", BYTEA, nullable=False, comment="SHA-256 of keys: ids can be too long to index."),
    Column("measures", JSONB, nullable=False, comment="The sums over its source rows, and their number."),
    Column("reason_code", Text, nullable=False),
    Column("reason", Text, nullable=False, comment="What is wrong and what to do."),
    Column("tenant_id", Uuid, Computed(_REJECTED_TENANT, persisted=True), comment="NULL: of no known tenant."),
    Column(
        "kept_row_ids",
        ARRAY(Uuid),
        nullable=False,
        server_default=text("'{}'"),
        comment="Rows of the target that keep an earlier, good value because of this record.",
    ),
    Column("run_id", Uuid, nullable=False, comment="The Dagster run that last rejected it."),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column(
        "resolved_at",
        DateTime(timezone=True),
        comment="When a later sync loaded it, or found that BigQuery no longer has it.",
    ),
    Column("currency", Text, comment="As BigQuery has it; NULL: it has none, or the source rows disagree."),
    # A record has at most one open rejection. If it is rejected again after that was resolved, there is a new one.
    Index(
        "rejected_metric_rows_open",
        "table_name",
        "metric_date",
        "key_digest",
        unique=True,
        postgresql_where=text("resolved_at IS NULL"),
    ),
    # The open records of a tenant, newest date first.
    Index(
        "rejected_metric_rows_tenant",
        "tenant_id",
        "metric_date",
        "id",
        postgresql_where=text("resolved_at IS NULL"),
    ),
)

bigquery_usage = Table(
    "bigquery_usage",
    metadata,
    Column("day", Date, primary_key=True, comment="In UTC."),
    Column("bytes_read", BigInteger, nullable=False),
)

synced_dates = Table(
    "synced_dates",
    metadata,
    Column("table_name", Text, primary_key=True, comment="The target table."),
    Column("metric_date", Date, primary_key=True, comment="The partition."),
    Column("version", Text, nullable=False, comment="Of BigQuery's partition, as it was read."),
    Column("run_id", Uuid, nullable=False, comment="The Dagster run that brought this version."),
    Column("synced_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column(
        "source_run_id",
        Uuid,
        comment="The run that noted the next four; not run_id if an older version has synced since.",
    ),
    Column("source_rows", BigInteger, comment="Of the source at the last sync."),
    Column("records", BigInteger, comment="Of the source at the last sync."),
    Column("impressions", Numeric, comment="Of the source at the last sync."),
    Column("spend", JSONB, comment="Of the source at the last sync."),
    Column(
        "compared_at",
        DateTime(timezone=True),
        comment="When the date was last synced or found unchanged in BigQuery; NULL: at synced_at.",
    ),
)

held_dates = Table(
    "held_dates",
    metadata,
    Column("table_name", Text, primary_key=True, comment="The target table."),
    Column("metric_date", Date, primary_key=True, comment="The partition."),
    Column("reason", Text, nullable=False, comment="would_shrink, repeated or grown."),
    Column("evidence", Text, nullable=False, comment="What was found, and what to do."),
    Column("run_id", Uuid, nullable=False, comment="The Dagster run that was refused."),
    Column("held_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    comment="Dates whose last load was refused; their rows are those of the sync before.",
)

# The keys under which records were loaded; see `source_keys`.
source_keys = Table(
    "source_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "campaign_space_id",
        ForeignKey("campaign_spaces.id", ondelete="CASCADE"),
        comment="What records of campaign_metrics were loaded into.",
    ),
    Column(
        "campaign_asset_id",
        ForeignKey("campaign_assets.id", ondelete="CASCADE"),
        comment="What records of asset_metrics were loaded into.",
    ),
    Column("tenant_key", Text, nullable=False, comment="The tenant as BigQuery named it."),
    Column("platform", Text, nullable=False),
    Column("campaign_id", Text, nullable=False, comment="External."),
    Column("asset_id", Text, comment="External; of assets only."),
    Column(
        "is_current",
        Boolean,
        nullable=False,
        server_default=true(),
        comment="Whether the keys led to it when they were last looked at.",
    ),
    Index("source_keys_space", "campaign_space_id"),
    Index("source_keys_asset", "campaign_asset_id"),
    Index("source_keys_external", "campaign_id", postgresql_using="hash"),
    comment="The keys under which records were loaded.",
)

# Filled by triggers on the metric tables (migration 0007); see `removed_rows`.
removed_rows = Table(
    "removed_rows",
    metadata,
    Column("table_name", Text, primary_key=True, comment="The target table."),
    Column("metric_date", Date, primary_key=True, comment="The partition."),
    Column(
        "transaction_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=text("(pg_current_xact_id()::text)::bigint"),
        comment="The transaction that removed rows.",
    ),
    Column("removed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    comment="Dates that are due since rows were removed, or belong to another campaign or asset now.",
)
