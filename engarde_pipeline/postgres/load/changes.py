"""What the merge of a date changes: the sums before it, and the largest changes by campaign."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import sql

from engarde_pipeline.core.currencies import ByCurrency, by_currency, subtract
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable

LARGEST_SHOWN = 10
"""The maximum number of campaigns that a merge returns."""


@dataclass(frozen=True)
class CampaignChange:
    """The sums of the rows of one campaign that a sync inserts, updates or deletes, before and after.

    A campaign whose currency changes is in both currencies; `currency` is empty where there is none.
    """

    campaign: str
    platform: str
    currency: str
    spend_before: Decimal
    spend_after: Decimal
    revenue_before: Decimal
    revenue_after: Decimal


@dataclass(frozen=True)
class Changes:
    """What a sync changes on a date: the sums before it, and the largest changes by campaign.

    A change is larger than another one if its difference in spend is larger; if these are equal, in revenue. A
    currency with neither spend nor revenue is left out.
    """

    spend_before: ByCurrency
    revenue_before: ByCurrency
    largest: list[CampaignChange]


# An expression for the statement of the merge. It reads only `difference`, the rows that the merge changes, with
# their earlier values: a date without changes costs nothing, and no row of the table is read twice. The second
# part of the union has the earlier values of rows whose currency changes. The campaign of an asset is looked up by
# a subquery, because a join might read all assets for a few rows. Numbers are text, because Python would read
# numbers of jsonb as floats. Only those columns of the application are named that the pipeline requires; `name` is
# not one of them.
_CHANGES: LiteralString = """
(WITH changed AS MATERIALIZED (
    SELECT {campaign_space_id} AS campaign_space_id, r.*
    FROM (
        SELECT coalesce(d.target_id, d.old_target_id) AS target_id,
               coalesce(
                   CASE WHEN d.record_key IS NULL THEN d.old_currency ELSE d.currency END, ''
               ) AS currency,
               CASE WHEN {has_other_currency} THEN 0 ELSE coalesce(d.old_spend, 0) END AS spend_before,
               coalesce(d.spend, 0) AS spend_after,
               CASE WHEN {has_other_currency} THEN 0 ELSE coalesce(d.old_revenue, 0) END AS revenue_before,
               coalesce(d.revenue, 0) AS revenue_after
        FROM difference d
        UNION ALL
        SELECT d.old_target_id, coalesce(d.old_currency, ''), d.old_spend, 0, d.old_revenue, 0
        FROM difference d
        WHERE {has_other_currency}
    ) r
), by_campaign AS MATERIALIZED (
    SELECT c.campaign_space_id, c.currency,
           sum(c.spend_after - c.spend_before) AS spend,
           sum(c.revenue_after - c.revenue_before) AS revenue
    FROM changed c
    GROUP BY 1, 2
), largest AS (
    SELECT c.campaign_space_id, c.currency,
           sum(c.spend_before) AS spend_before,
           sum(c.spend_after) AS spend_after,
           sum(c.revenue_before) AS revenue_before,
           sum(c.revenue_after) AS revenue_after
    FROM changed c
    JOIN (
        SELECT campaign_space_id, currency
        FROM by_campaign
        ORDER BY abs(spend) DESC, abs(revenue) DESC, campaign_space_id, currency
        LIMIT {shown}
    ) l USING (campaign_space_id, currency)
    GROUP BY 1, 2
)
SELECT jsonb_build_object(
    'added', (SELECT coalesce(jsonb_object_agg(currency, jsonb_build_array(spend::text, revenue::text)), '{{}}')
              FROM (SELECT currency, sum(spend) AS spend, sum(revenue) AS revenue
                    FROM by_campaign
                    GROUP BY currency) s),
    'largest', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                           'campaign', coalesce(to_jsonb(s) ->> 'name', s.external_campaign_id::text, s.id::text),
                           'platform', coalesce(s.platform::text, ''),
                           'currency', c.currency,
                           'spend_before', c.spend_before::text,
                           'spend_after', c.spend_after::text,
                           'revenue_before', c.revenue_before::text,
                           'revenue_after', c.revenue_after::text)
                           ORDER BY abs(c.spend_after - c.spend_before) DESC,
                                    abs(c.revenue_after - c.revenue_before) DESC,
                                    c.campaign_space_id, c.currency), '[]')
                FROM largest c
                JOIN campaign_spaces s ON s.id = c.campaign_space_id)))
"""

_HAS_OTHER_CURRENCY: LiteralString = """
d.row_id IS NOT NULL AND d.record_key IS NOT NULL AND d.currency IS DISTINCT FROM d.old_currency
"""

_CAMPAIGN_OF_ASSET: LiteralString = "(SELECT a.campaign_space_id FROM campaign_assets a WHERE a.id = r.target_id)"


def changes_expression(table: MetricTable) -> sql.Composed:
    """Return the expression for the changes; it reads `difference`, the rows that the merge changes."""
    is_of_campaigns = table is CAMPAIGN_METRICS
    return sql.SQL(_CHANGES).format(
        campaign_space_id=sql.SQL("r.target_id" if is_of_campaigns else _CAMPAIGN_OF_ASSET),
        has_other_currency=sql.SQL(_HAS_OTHER_CURRENCY),
        shown=sql.Literal(LARGEST_SHOWN),
    )


def changes_of(found: Mapping[str, Any], spend: ByCurrency, revenue: ByCurrency) -> Changes:
    """Return the value of the expression as `Changes`, given the sums after the merge."""
    largest = [
        CampaignChange(
            change["campaign"],
            change["platform"],
            change["currency"],
            *(Decimal(change[f"{name}_{when}"]) for name in ("spend", "revenue") for when in ("before", "after")),
        )
        for change in found["largest"]
    ]
    added = found["added"]
    spend_before = subtract(spend, by_currency({name: amounts[0] for name, amounts in added.items()}))
    revenue_before = subtract(revenue, by_currency({name: amounts[1] for name, amounts in added.items()}))
    empty = [name for name in spend_before if not (spend_before[name] or revenue_before[name])]
    for currency in empty:
        del spend_before[currency], revenue_before[currency]
    return Changes(spend_before, revenue_before, largest)
