"""Fills `campaign_metrics` by SQL, for tables that are too large to be synced: rows first, indexes afterwards.

The rows are those of a first load, date by date in the order in which a merge writes them. With `wal_level`
minimal, a table that is emptied in the same transaction is filled without WAL.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg

from benchmarks import data
from benchmarks.portfolio import Portfolio, seed
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline.postgres.totals.campaign_totals import update_totals

DATES = 1_000
CAMPAIGNS_PER_TENANT = 200

DATE_INDEX = "campaign_metrics_date_platform"

_INDEXES = {
    "as it is": "btree (metric_date, platform)",
    "date only": "btree (metric_date)",
    "brin": "brin (metric_date) WITH (pages_per_range='32')",
}
_FILL_FACTORS = {"fillfactor 90": 90, "fillfactor 80": 80}

VARIANTS = (*_INDEXES, *_FILL_FACTORS, "partitions")
"""What differs from the schema: the index of the dates, the fill factor, or a partition for each month."""

_DEFINITIONS = """
SELECT 1, format('ALTER TABLE campaign_metrics ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)),
       format('ALTER TABLE campaign_metrics DROP CONSTRAINT %I', conname)
FROM pg_constraint
WHERE conrelid = 'campaign_metrics'::regclass AND contype IN ('p', 'f')
UNION ALL
SELECT 0, pg_get_indexdef(indexrelid), format('DROP INDEX %s', indexrelid::regclass)
FROM pg_index
WHERE indrelid = 'campaign_metrics'::regclass AND NOT indisprimary
ORDER BY 1, 2
"""

_TRIGGERS = """
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'campaign_metrics'::regclass AND NOT tgisinternal
"""

VARIETY = 7
"""How many dates have numbers of their own; the others repeat them, which is faster than to make them."""

# A volatile expression would be evaluated again for each use: OFFSET 0 keeps each subquery as it is.
_NUMBERS = """
CREATE TEMPORARY TABLE numbers_{number} AS
SELECT *, round((conversions * (10 + 80 * random()))::numeric, 2) AS revenue
FROM (SELECT *, round((clicks * (0.2 + 2.8 * random()))::numeric, 6) AS spend,
             (clicks * 0.1 * random())::bigint AS conversions
      FROM (SELECT *, (impressions * 0.04 * random())::bigint AS clicks
            FROM (SELECT id, tenant_id, platform, exp(8 + 1.2 * random_normal())::bigint AS impressions
                  FROM campaign_spaces ORDER BY tenant_id, id OFFSET 0) AS one
            OFFSET 0) AS two
      OFFSET 0) AS three
"""

_DATE = """
INSERT INTO campaign_metrics (id, tenant_id, campaign_space_id, platform, metric_date, impressions, clicks, spend,
                              conversions, revenue, bigquery_sync_id, synced_from_bigquery_at)
SELECT uuidv7(), tenant_id, id, platform, '{day}', impressions, clicks, spend, conversions, revenue, '{run}', now()
FROM numbers_{number}
"""

_SUMS = """
INSERT INTO platform_days (tenant_id, metric_date, platform, row_count, impressions, clicks, spend, conversions,
                           revenue)
SELECT tenant_id, metric_date, platform, count(*), sum(impressions), sum(clicks), sum(spend), sum(conversions),
       sum(revenue)
FROM campaign_metrics
GROUP BY 1, 2, 3
"""

_WITHOUT_WAL = {"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB"}
_RUN = "0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b"

Step = Callable[[str], object]


def portfolio_of(rows: int) -> Portfolio:
    """Return the tenants and campaigns of a table with `rows` rows on `DATES` dates."""
    campaigns = rows // DATES
    return Portfolio(max(1, campaigns // CAMPAIGNS_PER_TENANT), campaigns)


def fill(home: Path, variant: str, rows: int, step: Step) -> str:
    """Start the embedded Postgres in `home` with a filled table; return its address.

    If there is one already, it only gets the index of the variant. `step` is called with the name of each step as
    it begins.
    """
    url = postgres.start(home)
    with connect(url) as connection:
        if connection.execute("SELECT to_regclass('campaign_metrics') IS NOT NULL").fetchone() == (True,):
            _create_index(connection, variant)
            return url
    url = _restart(home, url, _WITHOUT_WAL)
    migrate.upgrade(url)
    portfolio = portfolio_of(rows)
    with connect(url) as connection:
        seed(connection, portfolio)
        connection.execute("SET maintenance_work_mem = '1GB'")
        _create_index(connection, variant)
        if variant in _FILL_FACTORS:
            connection.execute(
                f"ALTER TABLE campaign_metrics SET (fillfactor = {_FILL_FACTORS[variant]})".encode()
            )
        with connection.transaction():
            _fill(connection, variant == "partitions", step)
        step("sums per platform and date")
        connection.execute(_SUMS)
        connection.execute(
            "INSERT INTO changed_dates (metric_date) SELECT DISTINCT metric_date FROM platform_days"
        )
        step("vacuum")
        connection.execute("VACUUM (ANALYZE)")
        step("totals of all campaigns")
        update_totals(connection)
    step("checkpoint")
    return _restart(home, url, dict.fromkeys(_WITHOUT_WAL))


def _create_index(connection: psycopg.Connection, variant: str) -> None:
    using = _INDEXES.get(variant, _INDEXES["as it is"])
    found = connection.execute("SELECT pg_get_indexdef(%s::regclass)", [DATE_INDEX]).fetchone()
    if found is None or not str(found[0]).endswith(f" USING {using}"):
        connection.execute(f"DROP INDEX {DATE_INDEX}".encode())
        connection.execute(f"CREATE INDEX {DATE_INDEX} ON campaign_metrics USING {using}".encode())


def _restart(home: Path, url: str, settings: dict[str, str] | dict[str, None]) -> str:
    with connect(url) as connection:
        for name, value in settings.items():
            change = f"RESET {name}" if value is None else f"SET {name} = '{value}'"
            connection.execute(f"ALTER SYSTEM {change}".encode())
    postgres.stop(home)
    return postgres.start(home)


def _fill(connection: psycopg.Connection, in_partitions: bool, step: Step) -> None:
    definitions = connection.execute(_DEFINITIONS).fetchall()
    triggers = [trigger for (trigger,) in connection.execute(_TRIGGERS)]
    if in_partitions:
        _partition(connection)
        definitions = [
            (order, make.replace("(id)", "(id, metric_date)"), drop) for order, make, drop in definitions
        ]
    else:
        connection.execute("TRUNCATE campaign_metrics")
        connection.execute("ALTER TABLE campaign_metrics DISABLE TRIGGER USER")
        for _, _, drop in reversed(definitions):
            connection.execute(drop.encode())
    step("rows")
    connection.execute("SELECT setseed(0.5)")
    for number in range(VARIETY):
        connection.execute(_NUMBERS.format(number=number).encode())
    for done, day in enumerate(data.days(DATES)):
        connection.execute(_DATE.format(day=day, run=_RUN, number=done % VARIETY).encode())
    for _, make, _ in definitions:
        step(make[:90])
        connection.execute(make.encode())
    if in_partitions:
        for trigger in triggers:
            connection.execute(trigger.encode())
    else:
        connection.execute("ALTER TABLE campaign_metrics ENABLE TRIGGER USER")


def _partition(connection: psycopg.Connection) -> None:
    """Replace the empty table by one with a partition for each month."""
    connection.execute("ALTER TABLE campaign_metrics RENAME TO whole")
    connection.execute(
        "CREATE TABLE campaign_metrics (LIKE whole INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)"
        " PARTITION BY RANGE (metric_date)"
    )
    connection.execute("DROP TABLE whole")
    # One more month: a load after the last date must find its partition.
    months = sorted({day.replace(day=1) for day in data.days(DATES + 31)})
    for month in months:
        following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
        connection.execute(
            f"CREATE TABLE campaign_metrics_{month:%Y_%m} PARTITION OF campaign_metrics"
            f" FOR VALUES FROM ('{month}') TO ('{following}')".encode()
        )
