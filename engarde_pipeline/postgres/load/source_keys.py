"""The source keys: the keys under which records were loaded, each with its campaign space or asset.

When the application renames a platform, corrects an external id or moves a campaign to another tenant, BigQuery
still has the old keys: its records are rejected, and the rows that were loaded from them keep their last good
value (rule 3). The application's current keys do not lead to these rows, so the keys are stored when they are
loaded.
"""

from contextlib import suppress

import psycopg
from psycopg import sql
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from engarde_pipeline.core.metrics import ASSET_ID, METRIC_HOUR, MetricTable
from engarde_pipeline.postgres.schema.application_tables import CAMPAIGN_ASSETS, CAMPAIGN_SPACES, MATCH, MATCHES
from engarde_pipeline.postgres.sql_lists import sql_list

# If keys lead to another campaign space or asset than before, the dates of the former one are noted, because its
# rows belong to the new one. Known keys, which after the first sync are nearly all, cost only the joins. With NOT
# EXISTS instead of EXCEPT, the planner chooses a nested loop while the table is empty, which then reads every key
# that it has inserted so far.
_NOTE = """
WITH led AS MATERIALIZED ({led}), superseded AS (
    UPDATE source_keys k
    SET is_current = false
    FROM led
    WHERE k.is_current AND k.{target_id} <> led.target_id AND {same_keys}
    RETURNING k.{target_id}
), again AS (
    UPDATE source_keys k
    SET is_current = true
    FROM led
    WHERE NOT k.is_current AND k.{target_id} = led.target_id AND {same_keys}
), new AS (
    INSERT INTO source_keys ({target_id}, {keys})
    SELECT led.target_id, {led_keys} FROM led
    EXCEPT
    SELECT k.{target_id}, {known_keys} FROM source_keys k
)
INSERT INTO removed_rows (table_name, metric_date)
SELECT DISTINCT {target_name}, t.metric_date
FROM {target} t
WHERE t.{target_id} IN (SELECT {target_id} FROM superseded)
ON CONFLICT DO NOTHING
RETURNING transaction_id
"""

_LOADED = """
SELECT DISTINCT s.target_id, {subject_keys}
FROM subjects s
JOIN {targets} t ON t.id = s.target_id
WHERE s.reason IS NULL
"""

# The current mapping of the keys that were loaded, according to the application; ambiguous keys have none.
_CAMPAIGNS_OF_KEYS = """
WITH known AS MATERIALIZED (
    SELECT DISTINCT {keys} FROM source_keys WHERE is_current AND {target_id} IS NOT NULL
), campaign AS (
    SELECT k.tenant_key, k.platform, k.campaign_id, {match} AS campaign_space_id
    FROM (SELECT DISTINCT tenant_key, platform, campaign_id FROM known) k
    JOIN {campaign_spaces} c
        ON c.external_campaign_id = k.campaign_id
        AND c.platform = k.platform
        AND c.tenant_id::text = k.tenant_key
    GROUP BY 1, 2, 3
    HAVING {matches} = 1
)
"""

_MAPPED_CAMPAIGNS = """
SELECT campaign_space_id AS target_id, {keys} FROM campaign
"""

_MAPPED_ASSETS = """
SELECT {match} AS target_id, {keys}
FROM campaign
JOIN known USING (tenant_key, platform, campaign_id)
JOIN {campaign_assets} a USING (campaign_space_id)
WHERE a.external_asset_id = known.asset_id
GROUP BY {keys}
HAVING {matches} = 1
"""

# The rows that earlier, good records may have written for a record that is now bad: those that its keys led to,
# and all that they lead to now. If the tenant or platform of a bad record is unknown, or its tenant was only found
# through the campaign, the rows of every tenant or platform for that campaign are kept: a bad record must not
# delete good numbers. A record with an invalid hour never had a row.
_KEPT = """
CREATE TEMPORARY TABLE kept AS
WITH bad AS MATERIALIZED (
    SELECT r.record_key, r.metric_date, r.metric_hour, s.tenant_id, {keys},
           n.tenant_id IS NULL AS names_no_tenant
    FROM records r
    JOIN subjects s ON s.key_number = r.record_key
    JOIN staged_keys n ON n.key_number = r.record_key
    WHERE r.reason IS NOT NULL AND coalesce(r.metric_hour, 0) BETWEEN 0 AND 23
)
SELECT b.record_key, b.metric_date, k.{target_id} AS target_id, b.metric_hour
FROM bad b
JOIN source_keys k
    ON k.{target_id} IS NOT NULL
    AND k.campaign_id = b.campaign_id
    AND (b.platform IS NULL OR k.platform = b.platform)
    AND (b.tenant_id IS NULL OR b.names_no_tenant OR k.tenant_key = b.tenant_key)
    {same_asset}
UNION
SELECT b.record_key, b.metric_date, {target}.id AS target_id, b.metric_hour
FROM bad b
JOIN {campaign_spaces} c
    ON c.external_campaign_id = b.campaign_id
    AND c.platform = b.platform
    AND (b.tenant_id IS NULL OR c.tenant_id = b.tenant_id)
{assets}
"""

_ASSETS_OF_CAMPAIGNS = """
JOIN {campaign_assets} a ON a.campaign_space_id = c.id AND a.external_asset_id = b.asset_id
"""

_NOTHING_KEPT = """
CREATE TEMPORARY TABLE kept (record_key integer, metric_date date, target_id uuid, metric_hour bigint)
"""


def note_source_keys(connection: psycopg.Connection, table: MetricTable) -> list[int]:
    """Store the keys of `subjects` that can be loaded; return the transactions that noted dates.

    A date is noted in `removed_rows` if a campaign space or asset has rows on it and its keys now lead to another
    one. The merge of the same load deletes these notes.
    """
    loaded = sql.SQL(_LOADED).format(
        targets=sql.Identifier("campaign_assets" if ASSET_ID in table.keys else "campaign_spaces"),
        subject_keys=sql_list("s.{name}", _keys(table)),
    )
    return _note(connection, table, loaded)


def note_moved_keys(connection: psycopg.Connection, table: MetricTable) -> None:
    """Note the dates of the rows whose keys now lead to another campaign space or asset.

    This happens if a campaign space is replaced by one with the same external id and not deleted, or if two
    exchange their ids. BigQuery does not change, so the versions of the dates do not show it.
    """
    keys = sql_list("{name}", _keys(table))
    assets = ASSET_ID in table.keys
    mapped = sql.SQL(_CAMPAIGNS_OF_KEYS + (_MAPPED_ASSETS if assets else _MAPPED_CAMPAIGNS)).format(
        keys=keys,
        target_id=sql.Identifier(table.target_id),
        match=sql.SQL(MATCH),
        matches=sql.SQL(MATCHES),
        campaign_spaces=sql.SQL(CAMPAIGN_SPACES),
        campaign_assets=sql.SQL(CAMPAIGN_ASSETS),
    )
    _note(connection, table, mapped)


# If a campaign is deleted during the statement, the next attempt does not find it.
@retry(
    retry=retry_if_exception_type(
        (
            psycopg.errors.ForeignKeyViolation,
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
        )
    ),
    wait=wait_exponential_jitter(multiplier=0.1, max=5),
    stop=stop_after_delay(30),
    reraise=True,
)
def _note(connection: psycopg.Connection, table: MetricTable, led: sql.Composed) -> list[int]:
    keys = _keys(table)
    statement = sql.SQL(_NOTE).format(
        led=led,
        target=sql.Identifier(table.target),
        target_name=sql.Literal(table.target),
        target_id=sql.Identifier(table.target_id),
        keys=sql_list("{name}", keys),
        led_keys=sql_list("led.{name}", keys),
        known_keys=sql_list("k.{name}", keys),
        same_keys=sql_list("k.{name} = led.{name}", keys, " AND "),
    )
    # A run goes on while the schema is migrated down and up again, so the table may be missing for a moment; the
    # migration then fills it with the application's keys.
    with suppress(psycopg.errors.UndefinedTable), connection.transaction():
        return list({transaction for (transaction,) in connection.execute(statement)})
    return []


def create_kept(connection: psycopg.Connection, table: MetricTable) -> None:
    """Create the temporary table `kept`: the rows that keep their last good value because a record is bad now.

    Its columns are `record_key`, `metric_date`, `target_id` and `metric_hour`.
    """
    has_assets = ASSET_ID in table.keys
    statement = sql.SQL(_KEPT).format(
        target_id=sql.Identifier(table.target_id),
        target=sql.Identifier("a" if has_assets else "c"),
        keys=sql_list("s.{name}", _keys(table)),
        same_asset=sql.SQL("AND k.asset_id = b.asset_id" if has_assets else ""),
        campaign_spaces=sql.SQL(CAMPAIGN_SPACES),
        assets=sql.SQL(_ASSETS_OF_CAMPAIGNS if has_assets else "").format(
            campaign_assets=sql.SQL(CAMPAIGN_ASSETS)
        ),
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.errors.UndefinedTable:  # as above; without bad records, no rows are kept
        if connection.execute("SELECT count(reason) > 0 FROM records").fetchone() == (True,):
            raise
        connection.execute(_NOTHING_KEPT)


def _keys(table: MetricTable) -> list[str]:
    return ["tenant_key", *(name for name in table.key_names if name not in ("tenant_id", METRIC_HOUR.name))]
