"""Stores records that could not be loaded, with the reason, until a later sync resolves them (rule 3)."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engarde_pipeline.core.metrics import MetricTable, RejectReason
from engarde_pipeline.postgres.load.records import has_no_good_record, matches
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.sql_lists import sql_list

# A record that is still bad keeps its open row, which is updated. The text of a jsonb is canonical, so the digest
# of `keys` identifies the record.
_RECORD = """
WITH kept_rows AS (
    SELECT k.record_key, array_agg(t.id) AS ids
    FROM kept k
    JOIN {target} t ON t.metric_date = %(date)s AND {matches_k}
    WHERE k.metric_date = %(date)s AND {has_no_good_record}
    GROUP BY k.record_key
), bad AS (
    SELECT jsonb_build_object({keys}) AS keys,
           jsonb_build_object({measures}) AS measures,
           r.currency,
           r.reason,
           coalesce(similar_keys.sentence, %(sentences)s::jsonb ->> r.reason) AS sentence,
           coalesce(kept_rows.ids, '{{}}') AS kept_row_ids
    FROM records r
    JOIN subjects s ON s.key_number = r.record_key
    LEFT JOIN similar_keys ON similar_keys.record_key = r.record_key
    LEFT JOIN kept_rows ON kept_rows.record_key = r.record_key
    WHERE r.metric_date = %(date)s AND r.reason IS NOT NULL
)
INSERT INTO rejected_metric_rows
    (table_name, metric_date, keys, key_digest, currency, measures, reason_code, reason, kept_row_ids, run_id)
SELECT %(table)s, %(date)s, keys, sha256(convert_to(keys::text, 'UTF8')), currency, measures,
       reason, sentence, kept_row_ids, %(run_id)s
FROM bad
ON CONFLICT (table_name, metric_date, key_digest) WHERE resolved_at IS NULL
DO UPDATE SET currency = excluded.currency,
              measures = excluded.measures,
              reason_code = excluded.reason_code,
              reason = excluded.reason,
              kept_row_ids = excluded.kept_row_ids,
              run_id = excluded.run_id,
              last_seen_at = now()
"""

_RESOLVE = """
UPDATE rejected_metric_rows j
SET resolved_at = now()
WHERE j.table_name = %(table)s
  AND j.metric_date = %(date)s
  AND j.resolved_at IS NULL
  AND j.last_seen_at <> now()
  AND {in_scope}
"""

_OPEN = """
SELECT j.metric_date, j.reason_code, j.reason, j.keys, j.currency, j.measures
FROM rejected_metric_rows j
WHERE j.table_name = %(table)s AND j.metric_date = %(date)s AND j.resolved_at IS NULL AND {in_scope}
ORDER BY j.reason_code, j.keys
LIMIT %(limit)s
"""


@dataclass(frozen=True)
class RejectedRow:
    """An open rejected record. Its money is None if its source rows have several currencies."""

    metric_date: date
    reason_code: str
    reason: str
    keys: dict[str, Any]
    currency: str | None
    measures: dict[str, Any]


def keep_rejected(connection: psycopg.Connection, table: MetricTable, day: date, run_id: UUID) -> None:
    """Store the bad records of `day`, with what is wrong and what to do."""
    values = {"table": table.source, "date": day, "run_id": run_id, "sentences": _sentences()}
    keys = [sql.SQL("{}, {}").format(sql.Literal(name), _key(name)) for name in table.key_names]
    record = sql.SQL(_RECORD).format(
        target=sql.Identifier(table.target),
        matches_k=matches(table, "k"),
        has_no_good_record=has_no_good_record(table),
        keys=sql.SQL(", ").join(keys),
        measures=sql_list("{text}, r.{name}", (*table.measure_names, "source_rows")),
    )
    connection.execute(record, values)


def resolve_rejected(connection: psycopg.Connection, table: MetricTable, day: date, scope: Scope) -> None:
    """Mark the records of `day` as resolved that are no longer bad, or no longer in BigQuery.

    Call this in the transaction of `keep_rejected`: `now()` does not change within a transaction, so every other
    `last_seen_at` belongs to a record that was not rejected again.
    """
    values = {"table": table.source, "date": day, **scope.parameters}
    connection.execute(sql.SQL(_RESOLVE).format(in_scope=scope.of_rejected()), values)


def open_rejections(
    connection: psycopg.Connection, table: MetricTable, day: date, scope: Scope, limit: int
) -> list[RejectedRow]:
    """Return up to `limit` records of `day` in `scope` that are not loaded, ordered by reason."""
    values = {"table": table.source, "date": day, "limit": limit, **scope.parameters}
    with connection.cursor(row_factory=class_row(RejectedRow)) as cursor:
        return cursor.execute(sql.SQL(_OPEN).format(in_scope=scope.of_rejected()), values).fetchall()


@dataclass(frozen=True)
class OpenReason:
    """The number of records that are not loaded for one reason, and the range of their dates."""

    table_name: str
    reason_code: str
    reason: str
    records: int
    first_date: date
    last_date: date


def open_reasons(connection: psycopg.Connection, start: date, end: date) -> list[OpenReason]:
    """Return the reasons why records between two dates are not loaded, the most frequent first.

    Records with a similar key (see `similar_keys`) are counted separately, with the reason of one of them.
    """
    with connection.cursor(row_factory=class_row(OpenReason)) as cursor:
        return cursor.execute(
            """
            SELECT table_name, reason_code, min(reason) AS reason, count(*) AS records,
                   min(metric_date) AS first_date, max(metric_date) AS last_date
            FROM rejected_metric_rows
            WHERE metric_date BETWEEN %s AND %s AND resolved_at IS NULL
            GROUP BY table_name, reason_code, reason = ANY(%s)
            ORDER BY records DESC, table_name, reason_code, reason
            """,
            [start, end, [reason.sentence for reason in RejectReason]],
        ).fetchall()


def _sentences() -> str:
    return json.dumps({str(reason): reason.sentence for reason in RejectReason})


def _key(name: str) -> sql.Composed:
    return sql.SQL("s.{}").format(sql.Identifier("tenant_key" if name == "tenant_id" else name))
