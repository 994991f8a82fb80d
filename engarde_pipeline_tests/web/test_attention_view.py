"""Which dates and jobs need a person, and rejected records by reason in words."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engarde_pipeline.api.schemas import SyncJobBody, job_body
from engarde_pipeline.core.date_states import DateFacts, SyncCalendar
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.web.attention import date_problems, rejected_group, unresolved
from engarde_pipeline_tests.web.test_job_view import CAMPAIGN, JOB

NOW = datetime(2026, 3, 31, 11, tzinfo=UTC)
CALENDAR = SyncCalendar(NOW, first_date=date(2026, 1, 1), window_days=30, provisional_days=28)


def _job(status: str = "completed", start: int = 1, end: int = 2, **values: Any) -> SyncJobBody:
    body = job_body(JOB, False)
    dates = {"start_date": date(2026, 3, start), "end_date": date(2026, 3, end)}
    return body.model_copy(update={"status": status, "metadata": {}, **dates, **values})


FAILED = _job("failed")


@pytest.mark.parametrize(
    ("later", "is_resolved"),
    [
        (_job(), True),
        (_job(start=1, end=9), True),
        (_job(start=2, end=9), False),
        (_job(metadata={"dry_run": True}), False),
        (_job("running"), False),
        (_job("failed", metadata={"cancelled": True}), False),
        (_job(metadata={"platforms": ["meta"]}), False),
        (_job(metadata={"campaign_space_ids": [CAMPAIGN]}), False),
        (_job(metadata={"all_tenants": True}), True),
        (_job(job_type="asset_metrics"), False),
        (_job(job_type="incremental_sync"), True),
    ],
)
def test_a_failed_job_is_shown_until_a_later_one_has_synced_all_of_it(
    later: SyncJobBody, is_resolved: bool
) -> None:
    assert unresolved([later, FAILED]) == ([] if is_resolved else [FAILED])
    assert unresolved([FAILED, later]) == [FAILED]  # it came before


def test_a_later_job_with_the_same_limits_is_enough() -> None:
    limits = {"platforms": ["meta"], "campaign_space_ids": [CAMPAIGN]}
    failed = _job("failed", metadata=limits)
    assert unresolved([_job(metadata=limits), failed]) == []
    assert unresolved([_job(metadata={"platforms": ["google"]}), failed]) == [failed]


def test_cancelled_jobs_and_dry_runs_are_no_failures() -> None:
    assert unresolved([_job("failed", metadata={mark: True}) for mark in ("cancelled", "dry_run")]) == []


def test_dates_are_grouped_by_state_and_table_without_reasons() -> None:
    day = date(2026, 3, 20)
    synced = DateFacts(CAMPAIGN_METRICS, day - timedelta(days=1), synced_at=NOW, compared_at=NOW)
    found = date_problems(
        [
            DateFacts(CAMPAIGN_METRICS, day),
            DateFacts(CAMPAIGN_METRICS, day + timedelta(days=1)),
            DateFacts(CAMPAIGN_METRICS, date(2026, 1, 2)),  # never backfilled, which is nobody's fault
            replace(synced, held="secret"),
            replace(synced, table=ASSET_METRICS, day=day, failed="secret"),
            replace(synced, table=ASSET_METRICS),
        ],
        CALENDAR,
    )
    assert [(each.table, each.label, each.style, each.dates) for each in found] == [
        ("Campaigns", "held", "bad", "2026-03-19"),
        ("Creatives", "failed", "bad", "2026-03-20"),
        ("Campaigns", "missing", "warn", "2026-03-20 to 2026-03-21"),
    ]
    assert "secret" not in " ".join(each.advice for each in found)


def test_a_group_has_its_money_by_currency_and_no_tenant_in_its_keys() -> None:
    group = rejected_group(
        {
            "reason_code": "campaign_not_mapped",
            "what_to_do": "connect it",
            "records": 1200,
            "dates": 2,
            "first_date": date(2026, 3, 1),
            "last_date": date(2026, 3, 5),
            "first_seen_at": NOW,
            "last_seen_at": NOW,
            "spend": {"EUR": "10.5", "": "1"},
            "examples": [
                {
                    "table": "asset_metrics",
                    "date": "2026-03-05",
                    "keys": {"tenant_id": "t", "campaign_id": "c3", "metric_hour": None},
                }
            ],
        }
    )
    assert (group.name, group.records) == ("Campaign not mapped", "1,200 records")
    assert group.dates == "2 dates, 2026-03-01 to 2026-03-05"
    assert group.spend == [("", Decimal(1)), ("EUR", Decimal("10.5"))]
    assert (group.examples[0].table, group.examples[0].keys) == ("Creatives", [("campaign id", "c3")])
