"""Jobs in words, with counts for those who may see them, and what the next form has of them."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from engarde_pipeline.api.schemas import job_body
from engarde_pipeline.api.sync_events import LandedDate
from engarde_pipeline.runs.job_log import SyncJob
from engarde_pipeline.web.job_view import ROWS_WHILE_RUNNING, JobView, job_view, progress

CAMPAIGN = "0f6a2c1e-5b1d-4c58-9d0e-3a7b6f2e8c41"

JOB = SyncJob(
    id="j",
    job_type="full_sync",
    status="completed",
    start_date=date(2026, 3, 1),
    end_date=date(2026, 3, 2),
    started_at=datetime(2026, 3, 3, 10, tzinfo=UTC),
    completed_at=datetime(2026, 3, 3, 10, 1, 5, tzinfo=UTC),
    duration_seconds=65.0,
    records_processed=15,
    records_inserted=1,
    records_updated=2,
    records_unchanged=3,
    records_deleted=4,
    records_failed=9,
    error_message=None,
    error_details=None,
    retry_count=0,
    max_retries=3,
    triggered_by="api",
    triggered_by_user_id="u1",
    metadata={},
    created_at=datetime(2026, 3, 3, 10, tzinfo=UTC),
    tenant_id="t",
)


def _view(**values: Any) -> JobView:
    return job_view(job_body(replace(JOB, **values), False))


def _landed(day: int, table: str = "campaign_metrics", attempt: int = 0, **values: Any) -> LandedDate:
    counts = dict.fromkeys(["inserted", "updated", "unchanged", "deleted", "failed"], day)
    data = {f"records_{name}": number for name, number in counts.items()}
    held = values.pop("held", None)
    return LandedDate((attempt, day), {"date": f"2026-03-{day:02}", "table": table, **data, **values}, held)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"status": "pending"}, "Waiting"),
        ({"status": "running"}, "Running"),
        ({"status": "retrying"}, "Waiting to be tried again"),
        ({"status": "failed"}, "Failed"),
        ({"status": "failed", "metadata": {"cancelled": True}}, "Cancelled"),
        ({}, "Completed"),
    ],
)
def test_the_status_is_in_words_and_cancelled_is_not_failed(values: dict[str, Any], status: str) -> None:
    job = _view(**values)
    assert (job.status, job.is_completed) == (status, status == "Completed")


def test_a_job_says_what_it_was_limited_to_and_who_started_it() -> None:
    job = _view(metadata={"platforms": ["meta"], "campaign_space_ids": [CAMPAIGN], "dry_run": True}, retry_count=2)
    assert (job.title, job.limits, job.duration) == (
        "Dry run of 2026-03-01 to 2026-03-02",
        "meta, 1 campaign",
        "1 min 5 s",
    )
    assert (job.triggered_by, job.attempts) == ("On this page or by the API (u1)", "2 retries")
    assert job.counts == [1, 2, 3, 4, 9]


def test_a_cancelled_job_has_no_error() -> None:
    job = _view(status="failed", metadata={"cancelled": True}, error_message="The run was cancelled.")
    assert job.error is None


def test_a_job_of_all_tenants_shows_neither_counts_nor_reasons() -> None:
    job = replace(
        JOB, tenant_id=None, status="failed", error_message="tenant X's 5 rows", error_details="more of X"
    )
    told = _landed(1, would_not_land="tenant X's rows", held="grown")

    page = progress(job, [told], may_see_all=False)

    assert (page.job.limits, page.job.counts, page.job.error_details) == ("all tenants", None, None)
    assert "operators" in (page.job.error or "")
    assert [(row.counts, row.would_not_land) for row in page.rows] == [(None, None)]
    assert page.again is None


def test_progress_counts_each_date_of_each_table_once() -> None:
    running = replace(JOB, status="running", completed_at=None)
    landed = [_landed(1), _landed(2), _landed(1, attempt=1), _landed(1, "campaign_asset_metrics", 1)]

    page = progress(running, landed, may_see_all=False)

    assert (page.done, page.total, page.sentence) == (3, 4, "3 of 4 done")
    assert progress(replace(running, job_type="asset_metrics"), [], False).total == 2
    assert progress(replace(running, start_date=None), landed, False).sentence == "3 done"


def test_only_the_latest_dates_are_shown_while_a_long_job_runs() -> None:
    landed = [replace(_landed(1), data={**_landed(1).data, "date": f"d{n:03}"}) for n in range(70)]

    page = progress(replace(JOB, status="running"), landed, may_see_all=False)

    assert [page.rows[0].day, page.rows[-1].day] == ["d069", "d020"]
    assert (len(page.rows), page.hidden_rows, page.done) == (ROWS_WHILE_RUNNING, 20, 70)
    ended = progress(JOB, reversed(landed), may_see_all=False)
    assert [row.day for row in ended.rows] == [f"d{n:03}" for n in range(70)]


def test_the_options_are_those_that_the_dry_run_found_necessary() -> None:
    dry = replace(JOB, metadata={"dry_run": True, "platforms": ["meta"], "campaign_space_ids": [CAMPAIGN]})

    def options(*codes: str | None) -> list[str]:
        again = progress(dry, [_landed(n + 1, held=code) for n, code in enumerate(codes)], False).again
        assert again is not None
        assert (again.start_date, again.end_date, again.platform) == ("2026-03-01", "2026-03-02", "meta")
        assert again.campaign_space_ids == [CAMPAIGN]
        return list(again.options)

    assert options(None, None) == []
    assert options("would_shrink", None) == ["allow_shrink"]
    assert options("repeated", "grown") == ["allow_growth"]
    assert options("grown", "would_shrink") == ["allow_growth", "allow_shrink"]


@pytest.mark.parametrize(
    "metadata", [{"platforms": ["meta", "google"]}, {"campaign_space_ids": ["an external id"]}]
)
def test_a_job_that_the_form_cannot_have_is_not_started_again_from_it(metadata: dict[str, Any]) -> None:
    assert progress(replace(JOB, metadata=metadata), [], may_see_all=False).again is None


@pytest.mark.parametrize(
    ("values", "refused", "changes_nothing"),
    [
        ({}, None, True),
        ({"metadata": {}}, None, False),
        ({"status": "running"}, None, False),
        ({}, "would lose most of its rows", False),
        *(({f"records_{name}": 1}, None, False) for name in ("inserted", "updated", "deleted", "failed")),
    ],
)
def test_a_dry_run_that_would_change_nothing_says_so(
    values: dict[str, Any], refused: str | None, changes_nothing: bool
) -> None:
    none = {f"records_{name}": 0 for name in ("inserted", "updated", "deleted", "failed")}
    job = replace(JOB, **{"metadata": {"dry_run": True}, **none, **values})
    landed = [_landed(1, would_not_land=refused)]
    assert progress(job, landed, may_see_all=False).changes_nothing is changes_nothing
