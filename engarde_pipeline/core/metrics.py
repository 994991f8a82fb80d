"""The measures, ratios and keys of the two metric tables.

The schema check, the extraction, the merge, the table definitions, the asset checks and the column descriptions in
Dagster are derived from these definitions.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Kind = Literal["count", "amount"]


@dataclass(frozen=True)
class Measure:
    """A number that can be added. A `count` is whole (int64); an `amount` has six decimals.

    Money is an amount that can only be added to amounts of the same currency (rule 13).
    """

    name: str
    kind: Kind
    description: str
    is_money: bool = False

    @property
    def limit(self) -> int:
        """The smallest value that is too large to store."""
        return 2**63 if self.kind == "count" else 10 ** (AMOUNT_DIGITS - AMOUNT_DECIMALS)


@dataclass(frozen=True)
class Ratio:
    """`factor * numerator / denominator`, computed from sums; NULL if the denominator is 0."""

    name: str
    numerator: str
    denominator: str
    factor: int
    unit: str
    description: str


IMPRESSIONS = Measure("impressions", "count", "Times an ad was shown.")
CLICKS = Measure("clicks", "count", "Clicks on an ad.")
SPEND = Measure("spend", "amount", "Money spent, in the currency of the record.", is_money=True)
CONVERSIONS = Measure("conversions", "amount", "Conversions; fractional, because attribution models split them.")
REVENUE = Measure(
    "revenue", "amount", "Revenue attributed to the ads, in the currency of the record.", is_money=True
)
ENGAGEMENTS = Measure("engagements", "count", "Likes, shares, comments and the like.")

CTR = Ratio("ctr", "clicks", "impressions", 100, "percent", "Click-through rate.")
CPC = Ratio("cpc", "spend", "clicks", 1, "currency", "Cost per click.")
CPM = Ratio("cpm", "spend", "impressions", 1000, "currency", "Cost per thousand impressions.")
ROAS = Ratio("roas", "revenue", "spend", 1, "factor", "Return on ad spend.")
CONVERSION_RATE = Ratio("conversion_rate", "conversions", "clicks", 100, "percent", "Conversions per click.")
ENGAGEMENT_RATE = Ratio(
    "engagement_rate", "engagements", "impressions", 100, "percent", "Engagements per impression."
)

AMOUNT_DECIMALS = 6
"""Ad platforms bill in micros. The amounts of a record are rounded once, after its rows are summed."""

AMOUNT_DIGITS = 38
"""The precision of a stored amount, which fits every BigQuery NUMERIC."""


@dataclass(frozen=True)
class Key:
    """A column that says what a record is about. `required`: the source must have the column."""

    name: str
    bigquery_type: Literal["STRING", "INT64"]
    required: bool
    description: str


TENANT_ID = Key("tenant_id", "STRING", True, "The tenant's uuid.")
CAMPAIGN_ID = Key("campaign_id", "STRING", True, "The campaign's id on the ad platform (external).")
ASSET_ID = Key("asset_id", "STRING", True, "The creative's id on the ad platform (external).")
PLATFORM = Key("platform", "STRING", True, "The ad platform: meta, google, tiktok, linkedin, ...")
METRIC_HOUR = Key("metric_hour", "INT64", False, "Hour 0..23 if the source is hourly, else NULL.")
OPTIONAL_TENANT_ID = Key(
    "tenant_id", "STRING", False, "The tenant's uuid. If it is absent, the tenant is that of the campaign."
)

CURRENCY = Key(
    "currency", "STRING", False, "ISO 4217, such as EUR; NULL if the source has none, which is a group of its own."
)
"""Not part of what identifies a record: a record has one currency, and can have another one on another date."""

CURRENCY_PATTERN = "^[A-Z]{3}$"

METRIC_DATE = "metric_date"
"""The partition column: a date in the ad account's time zone, which is never converted."""


@dataclass(frozen=True)
class MetricTable:
    """A source table in BigQuery and the Postgres table that it is synced to.

    `target_id` is the Postgres column with the id of the campaign space or asset. `keys` identify a record, and
    `dimensions` are all columns of the source besides the date and the measures. `ratios` are the ratios that have
    a column.
    """

    source: str
    target: str
    target_id: str
    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]
    ratios: tuple[Ratio, ...]
    optional: bool = False
    key_names: tuple[str, ...] = field(init=False)
    measure_names: tuple[str, ...] = field(init=False)
    dimensions: tuple[Key, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", (*self.keys, CURRENCY))
        object.__setattr__(self, "key_names", tuple(key.name for key in self.keys))
        object.__setattr__(self, "measure_names", tuple(measure.name for measure in self.measures))


CAMPAIGN_METRICS = MetricTable(
    source="campaign_metrics",
    target="campaign_metrics",
    target_id="campaign_space_id",
    keys=(TENANT_ID, CAMPAIGN_ID, PLATFORM, METRIC_HOUR),
    measures=(IMPRESSIONS, CLICKS, SPEND, CONVERSIONS, REVENUE),
    ratios=(CTR, CPC, CPM, ROAS, CONVERSION_RATE),
)

ASSET_METRICS = MetricTable(
    source="asset_metrics",
    target="campaign_asset_metrics",
    target_id="campaign_asset_id",
    keys=(OPTIONAL_TENANT_ID, CAMPAIGN_ID, ASSET_ID, PLATFORM),
    measures=(IMPRESSIONS, CLICKS, SPEND, CONVERSIONS, REVENUE, ENGAGEMENTS),
    ratios=(CTR, ENGAGEMENT_RATE),
    optional=True,
)

METRIC_TABLES = (CAMPAIGN_METRICS, ASSET_METRICS)


def ratios_of_sums(table: MetricTable) -> tuple[Ratio, ...]:
    """Return the ratios that the measures of `table` define, including those for which it has no column."""
    known = dict.fromkeys(ratio for each in METRIC_TABLES for ratio in each.ratios)
    return tuple(ratio for ratio in known if {ratio.numerator, ratio.denominator} <= set(table.measure_names))


class RejectReason(StrEnum):
    """The reasons why a record is rejected (rule 3). The first one that applies, in this order, is recorded."""

    NULL_KEY = "null_key"
    MALFORMED_KEY = "malformed_key"
    NOT_REPRESENTABLE = "not_representable"
    MALFORMED_TENANT = "malformed_tenant"
    UNKNOWN_TENANT = "unknown_tenant"
    AMBIGUOUS_TENANT = "ambiguous_tenant"
    CAMPAIGN_NOT_MAPPED = "campaign_not_mapped"
    AMBIGUOUS_CAMPAIGN = "ambiguous_campaign"
    ASSET_NOT_MAPPED = "asset_not_mapped"
    AMBIGUOUS_ASSET = "ambiguous_asset"
    MIXED_CURRENCY = "mixed_currency"
    MALFORMED_CURRENCY = "malformed_currency"
    NOT_A_NUMBER = "not_a_number"
    NEGATIVE_MEASURE = "negative_measure"
    OUT_OF_RANGE = "out_of_range"

    @property
    def sentence(self) -> str:
        """What the reason means and what to do, for an analyst."""
        return _SENTENCES[self]


_SENTENCES = {
    RejectReason.NULL_KEY: "A key column is NULL in BigQuery, so the record cannot be assigned; correct the"
    " load that wrote the row.",
    RejectReason.MALFORMED_KEY: "A key contains a NUL character, which Postgres cannot store as text; correct the"
    " id in BigQuery (the character is shown here as \\u0000).",
    RejectReason.NOT_REPRESENTABLE: "A key has a character that the encoding of the database does not have (shown"
    " here escaped, like \\u65e5); convert the application's database to the encoding UTF8, or correct the id in"
    " BigQuery.",
    RejectReason.MALFORMED_TENANT: "tenant_id is not a uuid; correct it in BigQuery.",
    RejectReason.UNKNOWN_TENANT: "Postgres has no tenant with this id; create the tenant or correct the id in"
    " BigQuery.",
    RejectReason.AMBIGUOUS_TENANT: "The row has no tenant, and campaigns of several tenants have this platform and"
    " id; add tenant_id to the row in BigQuery.",
    RejectReason.CAMPAIGN_NOT_MAPPED: "No campaign space has this tenant, platform and external campaign id;"
    " connect the campaign in the application; this date is then synced again automatically.",
    RejectReason.AMBIGUOUS_CAMPAIGN: "Several campaign spaces of the tenant have this platform and external"
    " campaign id. Keep one of them: delete the others, set their deleted_at, or clear their"
    " external_campaign_id. If all of them are deleted, restore the right one.",
    RejectReason.ASSET_NOT_MAPPED: "The campaign space has no asset with this external id; add the asset in the"
    " application; this date is then synced again automatically.",
    RejectReason.AMBIGUOUS_ASSET: "Several assets of the campaign space have this external id. Keep one of them:"
    " delete the others, set their deleted_at, or clear their external_asset_id. If all of them are deleted,"
    " restore the right one.",
    RejectReason.MIXED_CURRENCY: "The source rows of the record have several currencies, or only some of them have"
    " one, so that their amounts cannot be added; correct currency in BigQuery.",
    RejectReason.MALFORMED_CURRENCY: "currency is not an ISO 4217 code of three upper-case letters, such as EUR;"
    " correct it in BigQuery, or set it to NULL if it is not known.",
    RejectReason.NOT_A_NUMBER: "A measure is NaN in BigQuery; correct the load that wrote the row.",
    RejectReason.NEGATIVE_MEASURE: "A measure of at least one source row is negative; correct it in BigQuery.",
    RejectReason.OUT_OF_RANGE: "A measure is infinite or too large to store (counts are int64, amounts have 32"
    " digits before the point), or the hour is not 0..23; correct it in BigQuery.",
}
