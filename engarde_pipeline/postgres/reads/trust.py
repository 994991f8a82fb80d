"""How far the numbers of a response can be trusted: how current, complete and final they are.

`with_trust` extends the statement of a response, so that both are read from the same snapshot.
"""

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from engarde_pipeline.core.restatement import RestatementDays
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery, Statement

# Amounts in a rejected record are JSON numbers; "NaN" and the like are text, and null is the sum of several
# currencies (rule 13).
_TRUST = """
WITH synced AS (
    SELECT min(coalesce(compared_at, synced_at)) AS synced_at,
           count(*) FILTER (WHERE metric_date BETWEEN %(first)s AND %(last)s) AS dates
    FROM synced_dates
    WHERE table_name = %(table_name)s AND metric_date BETWEEN %(start)s AND %(end)s
), provisional AS (
    SELECT %(today)s::date + 1 - coalesce(max(w), %(longest)s) AS first_date
    FROM (SELECT coalesce((%(windows)s ->> platform)::int, %(others)s) AS w FROM ({platforms}) p) p
), rejected AS (
    SELECT coalesce(sum(records), 0) AS rejected_records,
           CASE WHEN count(*) FILTER (WHERE kind = 'number') < 2 AND count(*) FILTER (WHERE kind = 'null') = 0
                THEN coalesce(sum(spend), 0)
           END AS rejected_spend
    FROM (
        SELECT kind, count(*) AS records, sum(CASE kind WHEN 'number' THEN spend::numeric END) AS spend
        FROM (
            SELECT currency, measures -> 'spend' AS spend, jsonb_typeof(measures -> 'spend') AS kind
            FROM rejected_metric_rows
            WHERE tenant_id = %(tenant_id)s
              AND metric_date BETWEEN %(start)s AND %(end)s
              AND resolved_at IS NULL
              AND table_name = %(source)s
              {filters}
        ) r
        GROUP BY kind, currency
    ) r
)
SELECT json_build_object(
           'synced_at', to_char(synced_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'missing_dates',
           CASE WHEN dates = %(days)s THEN '[]'::json ELSE (
               SELECT coalesce(json_agg(day ORDER BY day), '[]')
               FROM (
                   SELECT %(first)s::date + n AS day
                   FROM generate_series(0, %(days)s::int - 1) n
               ) d
               WHERE NOT EXISTS (
                   SELECT FROM synced_dates WHERE table_name = %(table_name)s AND metric_date = day
               )
           ) END,
           'provisional_from',
           CASE WHEN first_date <= %(end)s THEN greatest(first_date, %(start)s) END,
           'rejected_records', rejected_records,
           'rejected_spend', rejected_spend
       )::text AS trust
FROM synced, provisional, rejected
"""

# Without a filter: the platforms that have numbers on dates which can be provisional at all.
_PLATFORMS_WITH_NUMBERS: LiteralString = """
    SELECT platform FROM platform_days
    WHERE tenant_id = %(tenant_id)s
      AND metric_date BETWEEN greatest(%(today)s::date + 1 - %(longest)s, %(start)s) AND %(end)s
"""
_PLATFORMS: dict[str, LiteralString] = {
    "platform": "SELECT %(platform)s AS platform",
    "campaign_asset_ids": """
    SELECT c.platform
    FROM engarde_api.campaign_assets a JOIN engarde_api.campaign_spaces c ON c.id = a.campaign_space_id
    WHERE a.id = ANY(%(campaign_asset_ids)s)
""",
    "campaign_space_ids": """
    SELECT platform FROM engarde_api.campaign_spaces WHERE id = ANY(%(campaign_space_ids)s)
""",
}

# A rejected record has the keys of BigQuery. Those of a campaign or asset that is not mapped belong to none.
_FILTERS: dict[str, LiteralString] = {
    "platform": "AND keys ->> 'platform' = %(platform)s",
    "campaign_space_ids": """
          AND (keys ->> 'platform', keys ->> 'campaign_id') IN (
              SELECT platform, external_campaign_id
              FROM engarde_api.campaign_spaces
              WHERE id = ANY(%(campaign_space_ids)s)
          )
""",
    "campaign_asset_ids": """
          AND (keys ->> 'platform', keys ->> 'campaign_id', keys ->> 'asset_id') IN (
              SELECT c.platform, c.external_campaign_id, a.external_asset_id
              FROM engarde_api.campaign_assets a JOIN engarde_api.campaign_spaces c ON c.id = a.campaign_space_id
              WHERE a.id = ANY(%(campaign_asset_ids)s)
          )
""",
}


@dataclass(frozen=True)
class Calendar:
    """The first partition, today (UTC), and which of the latest dates platforms may still restate."""

    first_date: date
    today: date
    restatement_days: RestatementDays


def with_trust(statement: Statement, query: MetricsQuery, calendar: Calendar) -> Statement:
    """Return `statement`, which has one row, with the column `trust`: a JSON object.

    * `synced_at`: the oldest of the moments at which the dates were last compared with BigQuery;
    * `missing_dates`: the dates that were never synced, without those that most accounts have not reached;
    * `provisional_from`: the first date that a platform of the numbers may still restate;
    * `rejected_records` and `rejected_spend`: the records that could not be loaded, as far as the filters apply to
      them, and their spend, unless it is of several currencies.
    """
    text, values = statement
    assert isinstance(text, bytes)  # noqa: S101  the statements of `metrics_queries` are composed
    restatement = calendar.restatement_days
    first = max(query.start, calendar.first_date)
    # The date ahead of UTC is not missing: most accounts have not reached it.
    last = min(query.end, calendar.today)
    return _with_trust(text, query.filters), {
        **query.values,
        **values,
        "source": query.table.source,
        "first": first,
        "last": last,
        "days": max(0, (last - first).days + 1),
        "today": calendar.today,
        "windows": Jsonb(restatement.by_platform),
        "others": restatement.others,
        "longest": restatement.longest,
    }


# psycopg does not cache how it converts a statement of more than 4096 bytes.
@cache
def _with_trust(statement: bytes, filters: tuple[str, ...]) -> bytes:
    platforms = next((text for name, text in _PLATFORMS.items() if name in filters), _PLATFORMS_WITH_NUMBERS)
    conditions = sql.SQL(" ").join(sql.SQL(_FILTERS[name]) for name in filters)
    trust = sql.SQL(_TRUST).format(platforms=sql.SQL(platforms), filters=conditions).as_bytes()
    text = b"SELECT s.*, t.trust FROM (%b) s, (%b) t" % (statement, trust)
    return re.sub(rb"(?<=\() | (?=\))", b"", re.sub(rb"\s+", b" ", text))
