"""The changes of a date by campaign, which the merge returns in a dry run (rule 16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import sql

from engarde_pipeline.core.currencies import ByCurrency, by_currency
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

    A change is larger than another one if its difference in spend is larger; if these are equal, in revenue.
    """

    spend_before: ByCurrency
    revenue_before: ByCurrency
    largest: list[CampaignChange]


# An expression for the statement of the merge: every part of a statement reads the rows as they were before it.
# Numbers are text, because Python would read numbers of jsonb as floats. Only the columns of the application that
# the pipeline requires are named; `name` is not one of them.
_CHANGES: LiteralString = """
(SELECT jsonb_build_object(
            'spend_before', coalesce(jsonb_object_agg(t.currency, t.spend::text), '{{}}'),
            'revenue_before', coalesce(jsonb_object_agg(t.currency, t.revenue::text), '{{}}'),
            'largest', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                           'campaign', coalesce(to_jsonb(s) ->> 'name', s.external_campaign_id::text, s.id::text),
                           'platform', coalesce(s.platform::text, ''),
                           'currency', c.currency,
                           'spend_before', c.spend_before::text,
                           'spend_after', c.spend_after::text,
                           'revenue_before', c.revenue_before::text,
                           'revenue_after', c.revenue_after::text) ORDER BY c.place), '[]')
                FROM (
                    SELECT *, row_number() OVER (
                        ORDER BY abs(spend_after - spend_before) DESC,
                                 abs(revenue_after - revenue_before) DESC,
                                 campaign_space_id, currency) AS place
                    FROM (
                        SELECT {campaign_space_id} AS campaign_space_id,
                               coalesce(r.currency, '') AS currency,
                               coalesce(sum(r.spend) FILTER (WHERE r.is_before), 0) AS spend_before,
                               coalesce(sum(r.spend) FILTER (WHERE NOT r.is_before), 0) AS spend_after,
                               coalesce(sum(r.revenue) FILTER (WHERE r.is_before), 0) AS revenue_before,
                               coalesce(sum(r.revenue) FILTER (WHERE NOT r.is_before), 0) AS revenue_after
                        FROM (
                            SELECT true AS is_before, o.{target_id} AS target_id, o.currency, o.spend, o.revenue
                            FROM difference d
                            JOIN {target} o ON o.metric_date = %(date)s AND o.id = d.row_id
                            UNION ALL
                            SELECT false, d.target_id, d.currency, d.spend, d.revenue
                            FROM difference d
                            WHERE d.record_key IS NOT NULL
                        ) r
                        {assets}
                        GROUP BY 1, 2
                    ) by_campaign
                ) c
                JOIN campaign_spaces s ON s.id = c.campaign_space_id
                WHERE c.place <= {shown}))
 FROM (
    SELECT coalesce(t.currency, '') AS currency, sum(t.spend) AS spend, sum(t.revenue) AS revenue
    FROM {target} t
    WHERE t.metric_date = %(date)s AND {in_scope}
    GROUP BY 1
 ) t)
"""

_ASSETS: LiteralString = "JOIN campaign_assets a ON a.id = r.target_id"


def changes_expression(table: MetricTable, in_scope: sql.Composable) -> sql.Composed:
    """Return the expression for the changes; it reads `difference`, the rows that the merge changes."""
    is_of_campaigns = table is CAMPAIGN_METRICS
    return sql.SQL(_CHANGES).format(
        campaign_space_id=sql.SQL("r.target_id" if is_of_campaigns else "a.campaign_space_id"),
        target_id=sql.Identifier(table.target_id),
        target=sql.Identifier(table.target),
        assets=sql.SQL("" if is_of_campaigns else _ASSETS),
        shown=sql.Literal(LARGEST_SHOWN),
        in_scope=in_scope,
    )


def changes_of(found: Mapping[str, Any]) -> Changes:
    """Return the value of the expression as `Changes`."""
    largest = [
        CampaignChange(
            change["campaign"],
            change["platform"],
            change["currency"],
            *(Decimal(change[f"{name}_{when}"]) for name in ("spend", "revenue") for when in ("before", "after")),
        )
        for change in found["largest"]
    ]
    return Changes(by_currency(found["spend_before"]), by_currency(found["revenue_before"]), largest)
