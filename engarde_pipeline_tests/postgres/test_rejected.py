"""Reading the rejected records: what an analyst is shown."""

from datetime import date, timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.rejected import open_reasons, open_rejections
from engarde_pipeline.postgres.load.scope import EVERYTHING
from engarde_pipeline.postgres.reads.quality import rejected_and_processed

DAY = date(2026, 3, 1)
NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture
def rejected(connection: psycopg.Connection) -> psycopg.Connection:
    """A connection to a database with rejected records of two tables and dates, one of them resolved."""
    add(connection, "not_a_number", "c3")
    add(connection, "unknown_tenant", "c2")
    add(connection, "unknown_tenant", "c1")
    add(connection, "unknown_tenant", "c1", day=NEXT_DAY)
    add(connection, "null_key", "c9", resolved_at=DAY)
    add(connection, "asset_not_mapped", "c1", table=ASSET_METRICS)
    return connection


def add(
    connection: psycopg.Connection,
    reason: str,
    campaign: str,
    table: MetricTable = CAMPAIGN_METRICS,
    day: date = DAY,
    resolved_at: date | None = None,
) -> None:
    keys = Jsonb({"campaign_id": campaign})
    connection.execute(
        "INSERT INTO rejected_metric_rows"
        " (table_name, metric_date, keys, key_digest, measures, reason_code, reason, run_id, resolved_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'because', gen_random_uuid(), %s)",
        [table.source, day, keys, campaign.encode(), Jsonb({"clicks": 1}), reason, resolved_at],
    )


def test_the_open_records_of_a_date_are_shown_by_reason(rejected: psycopg.Connection) -> None:
    shown = open_rejections(rejected, CAMPAIGN_METRICS, DAY, EVERYTHING, limit=10)

    assert [(row.reason_code, row.keys["campaign_id"]) for row in shown] == [
        ("not_a_number", "c3"),
        ("unknown_tenant", "c1"),
        ("unknown_tenant", "c2"),
    ]
    assert (shown[0].metric_date, shown[0].reason, shown[0].measures) == (DAY, "because", {"clicks": 1})


def test_no_more_than_the_limit_are_shown(rejected: psycopg.Connection) -> None:
    assert len(open_rejections(rejected, CAMPAIGN_METRICS, DAY, EVERYTHING, limit=2)) == 2


def test_open_reasons_are_counted_over_tables_and_dates(rejected: psycopg.Connection) -> None:
    reasons = open_reasons(rejected, DAY, NEXT_DAY)

    assert [(r.table_name, r.reason_code, r.records, r.first_date, r.last_date) for r in reasons] == [
        ("campaign_metrics", "unknown_tenant", 3, DAY, NEXT_DAY),
        ("asset_metrics", "asset_not_mapped", 1, DAY, DAY),
        ("campaign_metrics", "not_a_number", 1, DAY, DAY),
    ]
    assert [r.reason_code for r in open_reasons(rejected, NEXT_DAY, NEXT_DAY)] == ["unknown_tenant"]


def test_the_rejected_share_counts_open_records_of_its_own_table(rejected: psycopg.Connection) -> None:
    assert rejected_and_processed(rejected, CAMPAIGN_METRICS, [DAY]) == {DAY: (3, 3)}
    assert rejected_and_processed(rejected, ASSET_METRICS, [DAY, NEXT_DAY]) == {DAY: (1, 1)}
