"""The oracle: what Postgres must hold once a date is synced, said a second time in pandas and plain Python.

It follows the rules and shares only the vocabulary with the pipeline: the keys, measures and ratios of the
tables, and the reasons. What both say is hardly wrong in the same way twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction
from typing import Any
from uuid import UUID

import pandas as pd

from engarde_pipeline.core.metrics import ASSET_ID, METRIC_DATE, TENANT_ID, MetricTable, RejectReason

_MONEY = ("spend", "revenue")

RowKey = tuple[UUID, int | None]
"""Names a metric row of a date: the campaign space or asset, and the hour."""

Keys = frozenset[tuple[str, Any]]
"""Names a rejected record of a date: its keys as BigQuery has them."""

# Wide enough for the largest float and the smallest in one sum. Without traps, inf - inf is NaN, as in SQL.
_EXACT = Context(prec=1000, rounding=ROUND_HALF_UP, traps=[])
_MICRO = Decimal("0.000001")
_COUNT_LIMIT = Decimal(2**63)
_AMOUNT_LIMIT = Decimal(10**32)


@dataclass(frozen=True)
class Campaign:
    """A campaign space; `external_id` is None where it is not connected."""

    id: UUID
    tenant: UUID
    platform: str
    external_id: str | None


@dataclass(frozen=True)
class Asset:
    id: UUID
    campaign: Campaign
    external_id: str


@dataclass(frozen=True)
class Application:
    """What the application knows: its tenants, campaign spaces and assets."""

    tenants: Sequence[UUID] = ()
    campaigns: Sequence[Campaign] = ()
    assets: Sequence[Asset] = ()

    def called(self, platform: str | None, campaign_id: str | None) -> list[Campaign]:
        """The campaign spaces with these external keys, whoever's they are."""
        return [
            campaign
            for campaign in self.campaigns
            if campaign_id is not None and (campaign.platform, campaign.external_id) == (platform, campaign_id)
        ]


@dataclass(frozen=True)
class MetricRow:
    """A row of the target table; `run` is the one that last changed it."""

    tenant: UUID
    platform: str
    currency: str | None
    measures: dict[str, Decimal]
    run: UUID

    @property
    def content(self) -> tuple[object, ...]:
        return self.tenant, self.platform, self.currency, self.measures


@dataclass(frozen=True)
class Rejection:
    """An open rejected record; `kept` are the rows that hold their last good value because of it.

    A measure that is not a number is None here, so that it equals itself; so is money of several currencies.
    """

    reason: str
    currency: str | None
    measures: dict[str, Decimal | None]
    kept: frozenset[RowKey]
    run: UUID


@dataclass(frozen=True)
class DateState:
    """A date in Postgres."""

    rows: dict[RowKey, MetricRow] = field(default_factory=dict)
    rejected: dict[Keys, Rejection] = field(default_factory=dict)

    def total(self, measure: str) -> dict[str, Decimal]:
        """The sum of the rows in each currency; the key "" stands for none."""
        sums: dict[str, Decimal] = {}
        with localcontext(_EXACT):
            for row in self.rows.values():
                currency = row.currency or ""
                sums[currency] = sums.get(currency, Decimal(0)) + row.measures[measure]
        return sums


@dataclass(frozen=True)
class _Record:
    """Source rows under one key. `tenant` is None where it is not one that the application knows."""

    keys: dict[str, Any]
    tenant: UUID | None
    currency: str | None
    measures: dict[str, Decimal]
    source_rows: int
    reason: RejectReason | None
    target: UUID | None


def sync_date(
    table: MetricTable,
    source: Iterable[dict[str, Any]],
    application: Application,
    before: DateState,
    day: date,
    run: UUID,
) -> tuple[DateState, dict[str, int]]:
    """Return `day` as it must be after a sync, and the sync's counts; nothing is said about shrinking.

    `source` are BigQuery's rows of any dates.
    """
    records = _records(table, [row for row in source if row[METRIC_DATE] == day], application)
    rows: dict[RowKey, MetricRow] = {}
    counts = dict.fromkeys(("inserted", "updated", "unchanged", "rejected", "deleted"), 0)
    for record in records:
        if record.reason is None:
            assert record.tenant is not None
            assert record.target is not None
            key = (record.target, record.keys.get("metric_hour"))
            assert key not in rows, "two good records of one row"
            row = MetricRow(record.tenant, record.keys["platform"], record.currency, record.measures, run)
            old = before.rows.get(key)
            what = "inserted" if old is None else "updated" if old.content != row.content else "unchanged"
            rows[key] = old if old is not None and what == "unchanged" else row
            counts[what] += 1
    bad = [record for record in records if record.reason is not None]
    kept: dict[RowKey, list[_Record]] = {}
    for key in before.rows.keys() - rows.keys():
        kept[key] = [record for record in bad if _could_be(table, record, key, application)]
        counts["deleted"] += not kept[key]
    rows |= {key: before.rows[key] for key, reasons in kept.items() if reasons}
    rejected = {
        frozenset(record.keys.items()): Rejection(
            str(record.reason),
            record.currency,
            {
                **{name: None if total.is_nan() else total for name, total in record.measures.items()},
                "source_rows": Decimal(record.source_rows),
            },
            frozenset(key for key, reasons in kept.items() if record in reasons),
            run,
        )
        for record in bad
    }
    counts |= {
        "rejected": len(bad),
        "processed": len(records),
        "source_rows": sum(record.source_rows for record in records),
    }
    return DateState(rows, rejected), counts


def shrinks(before: DateState, after: DateState, processed: int, threshold: float | None) -> bool:
    """Whether rule 5 refuses the step: too small a share of the rows would be left, or none at all.

    Bad records that leave no row are not counted, nor are more kept rows than there are records.
    """
    if threshold is None or not before.rows:
        return False
    left = min(processed, len(after.rows))
    return left == 0 or Fraction(left, len(before.rows)) < Fraction(str(threshold))


def ratios(table: MetricTable, measures: dict[str, Decimal]) -> dict[str, Decimal | None]:
    """The ratios of a row, to 60 digits; None where the denominator is zero."""
    with localcontext(prec=60):
        return {
            ratio.name: ratio.factor * measures[ratio.numerator] / measures[ratio.denominator]
            if measures[ratio.denominator]
            else None
            for ratio in table.ratios
        }


def _records(table: MetricTable, source: list[dict[str, Any]], application: Application) -> list[_Record]:
    keys = list(table.key_names)
    texts = [key.name for key in table.keys if key.bigquery_type == "STRING"]
    rows = [
        {
            **{key: _spelled(row.get(key)) for key in keys},
            "tenant_id": _spelled(_tenant_key(table, row, application)),
            "currency": _spelled(row.get("currency")),
            "has_nul": any("\0" in (row.get(key) or "") for key in texts),
            **{measure: _decimal(row[measure]) for measure in table.measure_names},
        }
        for row in source
    ]
    # As objects: pandas would make floats of integers beside a None.
    frame = pd.DataFrame(rows, columns=[*keys, "currency", "has_nul", *table.measure_names], dtype=object)
    groups = frame.groupby(keys, dropna=False, sort=False)
    return [_record(table, group, application) for _, group in groups]


def _record(table: MetricTable, group: pd.DataFrame, application: Application) -> _Record:
    keys = {name: group[name].iloc[0] for name in table.key_names}
    currencies = set(group["currency"])
    with localcontext(_EXACT):
        measures = {
            measure.name: _total(group[measure.name], measure.kind == "amount") for measure in table.measures
        }
        tenant = _known_tenant(keys["tenant_id"], application)
        campaigns = [
            campaign
            for campaign in application.called(keys["platform"], keys["campaign_id"])
            if campaign.tenant == tenant
        ]
        assets = [
            asset
            for asset in application.assets
            if asset.campaign in campaigns and asset.external_id == keys.get("asset_id")
        ]
        targets: Sequence[Campaign | Asset] = assets if ASSET_ID in table.keys else campaigns
        reason = (
            _fault_of_keys(table, keys, bool(group["has_nul"].any()), tenant, application)
            or _fault_of_mapping(table, campaigns, assets)
            or _fault_of_currency(currencies)
            or _fault_of_numbers(table, keys, group, measures)
        )
    if len(currencies) > 1:
        measures |= dict.fromkeys(_MONEY, Decimal("NaN"))  # no number
    currency = currencies.pop() if len(currencies) == 1 else None
    return _Record(keys, tenant, currency, measures, len(group), reason, None if reason else targets[0].id)


def _fault_of_keys(
    table: MetricTable, keys: dict[str, Any], has_nul: bool, tenant: UUID | None, application: Application
) -> RejectReason | None:
    if any(keys[key.name] is None for key in table.keys if key.required):
        return RejectReason.NULL_KEY
    if has_nul:
        return RejectReason.MALFORMED_KEY
    named = keys["tenant_id"]
    if named is None:
        owned = application.called(keys["platform"], keys["campaign_id"])
        return RejectReason.AMBIGUOUS_TENANT if owned else RejectReason.CAMPAIGN_NOT_MAPPED
    if not _is_uuid(named):
        return RejectReason.MALFORMED_TENANT
    return None if tenant else RejectReason.UNKNOWN_TENANT


def _fault_of_mapping(table: MetricTable, campaigns: list[Campaign], assets: list[Asset]) -> RejectReason | None:
    if len(campaigns) != 1:
        return RejectReason.AMBIGUOUS_CAMPAIGN if campaigns else RejectReason.CAMPAIGN_NOT_MAPPED
    if ASSET_ID in table.keys and len(assets) != 1:
        return RejectReason.AMBIGUOUS_ASSET if assets else RejectReason.ASSET_NOT_MAPPED
    return None


def _fault_of_currency(currencies: set[str | None]) -> RejectReason | None:
    if len(currencies) > 1:
        return RejectReason.MIXED_CURRENCY
    (currency,) = currencies
    if currency is None or (len(currency) == 3 and all("A" <= letter <= "Z" for letter in currency)):
        return None
    return RejectReason.MALFORMED_CURRENCY


def _fault_of_numbers(
    table: MetricTable, keys: dict[str, Any], group: pd.DataFrame, measures: dict[str, Decimal]
) -> RejectReason | None:
    if any(total.is_nan() for total in measures.values()):
        return RejectReason.NOT_A_NUMBER
    # Row by row: a refund must not hide among the other rows of its record.
    if (group[list(table.measure_names)] < 0).any(axis=None):
        return RejectReason.NEGATIVE_MEASURE
    limits = {"count": _COUNT_LIMIT, "amount": _AMOUNT_LIMIT}
    if any(measures[measure.name] >= limits[measure.kind] for measure in table.measures):
        return RejectReason.OUT_OF_RANGE
    hour = keys.get("metric_hour")
    return None if hour is None or 0 <= hour < 24 else RejectReason.OUT_OF_RANGE


def _could_be(table: MetricTable, record: _Record, row: RowKey, application: Application) -> bool:
    """Whether a bad record may be about a metric row; a tenant or platform that it does not tell is any."""
    target, hour = row
    asset = next((a for a in application.assets if a.id == target), None) if ASSET_ID in table.keys else None
    campaign = asset.campaign if asset else next(c for c in application.campaigns if c.id == target)
    keys = record.keys
    return (
        keys["campaign_id"] is not None
        and keys["campaign_id"] == campaign.external_id
        and keys.get("asset_id") == (asset.external_id if asset else None)
        and keys["platform"] in (None, campaign.platform)
        and record.tenant in (None, campaign.tenant)
        and keys.get("metric_hour") == hour
    )


def _tenant_key(table: MetricTable, row: dict[str, Any], application: Application) -> str | None:
    """The tenant as the row names it; where it may leave that out, the only one that has its campaign."""
    named: str | None = row.get("tenant_id")
    if named is not None:
        return named.lower()
    if TENANT_ID in table.keys:
        return None
    owners = {campaign.tenant for campaign in application.called(row["platform"], row["campaign_id"])}
    return str(*owners) if len(owners) == 1 else None


def _known_tenant(named: str | None, application: Application) -> UUID | None:
    return next((tenant for tenant in application.tenants if str(tenant) == named), None)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _spelled(value: Any) -> Any:
    """A NUL is written out, as Postgres and pandas' own string hashing both stop at one."""
    return value.replace("\0", "\\u0000") if isinstance(value, str) else value


def _decimal(value: float | Decimal | None) -> Decimal:
    """A float is the shortest decimal that reads back as it; NULL counts as 0."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value or 0)


def _total(values: Iterable[Decimal], is_amount: bool) -> Decimal:
    total = sum(values, Decimal(0))
    # Rounded once, after the sum. Decimal cannot round an infinity.
    return total.quantize(_MICRO) if is_amount and total.is_finite() else total
