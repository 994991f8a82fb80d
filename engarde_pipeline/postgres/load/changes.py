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
(WITH by_campaign AS MATERIALIZED (
    SELECT {campaign_space_id} AS campaign_space_id,
           r.currency,
           coalesce(sum(r.spend_before), 0) AS spend_before,
           coalesce(sum(r.spend_after), 0) AS spend_after,
           coalesce(sum(r.revenue_before), 0) AS revenue_before,
           coalesce(sum(r.revenue_after), 0) AS revenue_after
    FROM (
        SELECT coalesce(d.target_id, d.old_target_id) AS target_id,
               coalesce(
                   CASE WHEN d.record_key IS NULL THEN d.old_currency ELSE d.currency END, ''
               ) AS currency,
               CASE WHEN NOT ({has_other_currency}) THEN d.old_spend END AS spend_before,
               d.spend AS spend_after,
               CASE WHEN NOT ({has_other_currency}) THEN d.old_revenue END AS revenue_before,
               d.revenue AS revenue_after
        FROM difference d
        UNION ALL
        SELECT d.old_target_id, coalesce(d.old_currency, ''), d.old_spend, NULL, d.old_revenue, NULL
        FROM difference d
        WHERE {has_other_currency}
    ) r
    GROUP BY 1, 2
)
SELECT jsonb_build_object(
    'added_spend', (SELECT coalesce(jsonb_object_agg(currency, amount::text), '{{}}')
                    FROM (SELECT currency, sum(spend_after - spend_before) AS amount
                          FROM by_campaign
                          GROUP BY currency) s),
    'added_revenue', (SELECT coalesce(jsonb_object_agg(currency, amount::text), '{{}}')
                      FROM (SELECT currency, sum(revenue_after - revenue_before) AS amount
                            FROM by_campaign
                            GROUP BY currency) s),
    'largest', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                           'campaign', coalesce(to_jsonb(s) ->> 'name', s.external_campaign_id::text, s.id::text),
                           'platform', coalesce(s.platform::text, ''),
                           'currency', c.currency,
                           'spend_before', c.spend_before::text,
                           'spend_after', c.spend_after::text,
                           'revenue_before', c.revenue_before::text,
                           'revenue_after', c.revenue_after::text) ORDER BY {largest_first}), '[]')
                FROM (SELECT * FROM by_campaign c ORDER BY {largest_first} LIMIT {shown}) c
                JOIN campaign_spaces s ON s.id = c.campaign_space_id)))
"""

_HAS_OTHER_CURRENCY: LiteralString = """
d.row_id IS NOT NULL AND d.record_key IS NOT NULL AND d.currency IS DISTINCT FROM d.old_currency
"""

_LARGEST_FIRST: LiteralString = """
abs(c.spend_after - c.spend_before) DESC, abs(c.revenue_after - c.revenue_before) DESC,
c.campaign_space_id, c.currency
"""

_CAMPAIGN_OF_ASSET: LiteralString = "(SELECT a.campaign_space_id FROM campaign_assets a WHERE a.id = r.target_id)"


def changes_expression(table: MetricTable) -> sql.Composed:
    """Return the expression for the changes; it reads `difference`, the rows that the merge changes."""
    is_of_campaigns = table is CAMPAIGN_METRICS
    return sql.SQL(_CHANGES).format(
        campaign_space_id=sql.SQL("r.target_id" if is_of_campaigns else _CAMPAIGN_OF_ASSET),
        has_other_currency=sql.SQL(_HAS_OTHER_CURRENCY),
        largest_first=sql.SQL(_LARGEST_FIRST),
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
    spend_before = subtract(spend, by_currency(found["added_spend"]))
    revenue_before = subtract(revenue, by_currency(found["added_revenue"]))
    empty = [name for name in spend_before if not (spend_before[name] or revenue_before[name])]
    for currency in empty:
        del spend_before[currency], revenue_before[currency]
    return Changes(spend_before, revenue_before, largest)
