"""The queries of the pages for people: numbers by date beside those of the period before.

A page shows one moment: its parts are columns of one statement, and so are read from the same snapshot.
"""

from datetime import date
from functools import cache
from typing import LiteralString

from psycopg import sql

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery, Statement
from engarde_pipeline.postgres.sql_lists import sql_list

# By the index platform_days_tenant_date. Deletions are added with negative counts, so a group can be empty.
_PLATFORM_DAYS = """
WITH days AS (
    SELECT metric_date AS date, platform, currency, {sums}
    FROM platform_days m
    WHERE tenant_id = %(tenant_id)s AND metric_date BETWEEN %(before_start)s AND %(end)s {filter}
    GROUP BY 1, 2, 3
    HAVING sum(row_count) > 0
), before AS (
    SELECT currency, {sums} FROM days WHERE date < %(start)s GROUP BY 1
)
SELECT (
           SELECT coalesce(
               json_agg(json_build_array(date, platform, currency, {measures}) ORDER BY date), '[]'
           )::text
           FROM days
           WHERE date >= %(start)s
       ) AS days,
       (SELECT coalesce(json_agg(json_build_array(currency, {measures})), '[]')::text FROM before) AS before,
       {dates_before} AS dates_before,
       {partial_dates} AS partial_dates,
       {held_dates} AS held_dates,
       (
           SELECT coalesce(array_agg(DISTINCT platform ORDER BY platform), '{{}}')
           FROM platform_days
           WHERE tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s
       ) AS platforms,
       EXISTS (SELECT FROM engarde_api.campaign_spaces) AS has_campaigns,
       EXISTS (SELECT FROM synced_dates WHERE table_name = %(table_name)s) AS has_synced_dates
"""

_DATES_BEFORE: LiteralString = """(
           SELECT count(*)
           FROM synced_dates
           WHERE table_name = %(table_name)s
             AND metric_date BETWEEN %(before_start)s AND %(start)s::date - 1
       )"""

# As in `core.date_states`: a date is over everywhere twelve hours after it is over in UTC.
_PARTIAL_DATES: LiteralString = """(
           SELECT coalesce(array_agg(metric_date), '{{}}')
           FROM synced_dates
           WHERE table_name = %(table_name)s
             AND metric_date BETWEEN %(start)s AND %(end)s
             AND coalesce(compared_at, synced_at)
                 < (metric_date + 1)::timestamp AT TIME ZONE 'UTC' + interval '12 hours'
       )"""

_HELD_DATES: LiteralString = """(
           SELECT coalesce(array_agg(metric_date), '{{}}')
           FROM held_dates
           WHERE table_name = %(table_name)s AND metric_date BETWEEN %(start)s AND %(end)s
       )"""

# By the primary key of the application's table, and the index campaign_metrics_key (campaign_space_id,
# metric_date, metric_hour).
_CAMPAIGNS_OF_GROUPS = """
SELECT coalesce(json_agg(json_build_object('id', n.id, 'platform', n.platform, 'spend', (
           SELECT coalesce(json_agg(json_build_array(date, currency, spend)), '[]')
           FROM (
               SELECT metric_date AS date, currency, sum(spend) AS spend
               FROM campaign_metrics m
               WHERE campaign_space_id = n.id AND tenant_id = %(tenant_id)s
                 AND metric_date BETWEEN %(spend_start)s AND %(end)s {filter}
               GROUP BY 1, 2
           ) d
       ))), '[]')::text AS campaigns
FROM engarde_api.campaign_spaces n
WHERE n.id = ANY(ARRAY(
    SELECT (g ->> 'campaign_space_id')::uuid FROM json_array_elements(s.groups::json) g
))
"""

# By the index campaign_metrics_key. An hourly date has several rows, which several jobs can have written.
_CAMPAIGN = """
WITH days AS (
    SELECT metric_date AS date, currency, {sums},
           (array_agg(bigquery_sync_id ORDER BY synced_from_bigquery_at DESC))[1] AS job_id
    FROM campaign_metrics
    WHERE campaign_space_id = ANY(%(campaign_space_ids)s) AND tenant_id = %(tenant_id)s
      AND metric_date BETWEEN %(before_start)s AND %(end)s
    GROUP BY 1, 2
), before AS (
    SELECT currency, {sums} FROM days WHERE date < %(start)s GROUP BY 1
)
SELECT n.name,
       n.platform,
       n.external_campaign_id,
       (
           SELECT coalesce(
               json_agg(json_build_array(date, job_id, currency, {measures}) ORDER BY date, currency), '[]'
           )::text
           FROM days
           WHERE date >= %(start)s
       ) AS days,
       (SELECT coalesce(json_agg(json_build_array(currency, {measures})), '[]')::text FROM before) AS before,
       {dates_before} AS dates_before,
       {partial_dates} AS partial_dates,
       {held_dates} AS held_dates
FROM engarde_api.campaign_spaces n
WHERE n.id = ANY(%(campaign_space_ids)s)
"""

_FILTERS: dict[bool, LiteralString] = {True: "AND m.platform = %(platform)s", False: ""}


def with_campaigns(groups: Statement, query: MetricsQuery, spend_start: date) -> Statement:
    """Return the statement for groups by campaign with the column `campaigns`, about the campaigns of the groups.

    It is a JSON array of objects with the campaign's `id`, its `platform`, and its `spend` since `spend_start`:
    an array of arrays with a date, a currency and the sum.
    """
    text, values = groups
    assert isinstance(text, bytes)  # noqa: S101  the statements of `metrics_queries` are composed
    return _with_campaigns(text, query.platform is not None), {**values, "spend_start": spend_start}


def with_platform_days(statement: Statement, query: MetricsQuery, before_start: date) -> Statement:
    """Return `statement`, which has one row, with columns for the sums by platform and date.

    * `days`: a JSON array of arrays with a date, a platform, a currency and the sums of the measures;
    * `before`: the sums from `before_start` to the day before the query's start: an array of arrays with a
      currency and the sums;
    * `dates_before`: how many of these dates have been synced;
    * `partial_dates`: the query's dates that were not over when they were last compared with BigQuery;
    * `held_dates`: the query's dates whose last load was refused;
    * `platforms`: those with numbers in the query's dates, whether it filters by platform or not;
    * `has_campaigns` and `has_synced_dates`: whether there are any at all.
    """
    text, values = statement
    assert isinstance(text, bytes)  # noqa: S101
    return (
        _with_platform_days(text, query.platform is not None),
        {**query.values, **values, "before_start": before_start},
    )


def campaign(query: MetricsQuery, before_start: date) -> Statement:
    """Return the statement for the one campaign that `query` filters by; without a row if the tenant has no such.

    Its row has `name`, `platform`, `external_campaign_id`; `days`, a JSON array of arrays with a date, the id of
    the job that last changed it, a currency and the sums of the measures; `before`, `dates_before`,
    `partial_dates` and `held_dates` as in `with_platform_days`.
    """
    return _campaign(), {**query.values, "before_start": before_start}


# Cached, so that the text of a statement stays the same and is prepared once.
@cache
def _with_campaigns(groups: bytes, has_filter: bool) -> bytes:
    campaigns = _compose(_CAMPAIGNS_OF_GROUPS, has_filter)
    return b"SELECT s.*, c.campaigns FROM (%b) s CROSS JOIN LATERAL (%b) c" % (groups, campaigns)


@cache
def _with_platform_days(statement: bytes, has_filter: bool) -> bytes:
    return b"SELECT s.*, d.* FROM (%b) s, (%b) d" % (statement, _compose(_PLATFORM_DAYS, has_filter))


@cache
def _campaign() -> bytes:
    return _compose(_CAMPAIGN)


def _compose(text: LiteralString, has_filter: bool = False) -> bytes:
    names = CAMPAIGN_METRICS.measure_names
    return (
        sql.SQL(text)
        .format(
            sums=sql_list("sum({name}) AS {name}", names),
            measures=sql_list("{name}", names),
            dates_before=sql.SQL(_DATES_BEFORE),
            partial_dates=sql.SQL(_PARTIAL_DATES).format(),
            held_dates=sql.SQL(_HELD_DATES).format(),
            filter=sql.SQL(_FILTERS[has_filter]),
        )
        .as_bytes()
    )
