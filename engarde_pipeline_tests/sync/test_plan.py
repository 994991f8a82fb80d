"""Which dates are due, decided by three versions: BigQuery's, the one Dagster recorded, the one Postgres has."""

from datetime import date

import pytest

from engarde_pipeline.bigquery.changes import EMPTY, Versions
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.sync.plan import MISSING, REMOVED, RESTORED, UNRECORDED, plan_dates

DAY = date(2026, 3, 1)
NOW, BEFORE = "20260302T101500.000000-2-0", "20260301T101500.000000-2-0"
CHANGED = "changed at 2026-03-02 10:15 UTC"


def reason(
    recorded: str | None, held: str | None, is_in_window: bool, version: str = NOW, removed: str | None = None
) -> str | None:
    """Why the date is due; None where it is not."""
    due = plan_dates(
        CAMPAIGN_METRICS,
        [DAY] if is_in_window else [],
        Versions({DAY: version} if version != EMPTY else {}, EMPTY),
        {DAY: recorded} if recorded is not None else {},
        {DAY: held} if held is not None else {},
        {DAY: removed} if removed is not None else {},
    )
    return due[0].reason if due else None


@pytest.mark.parametrize("is_in_window", [True, False])
@pytest.mark.parametrize(
    ("recorded", "held", "why"),
    [
        (NOW, NOW, None),
        (BEFORE, BEFORE, CHANGED),
        (BEFORE, None, CHANGED),
        (None, BEFORE, CHANGED),
        ("", BEFORE, CHANGED),
        (NOW, BEFORE, RESTORED),
        (NOW, None, RESTORED),
        (BEFORE, NOW, UNRECORDED),
    ],
)
def test_a_date_is_due_unless_both_have_the_version_of_now(
    recorded: str | None, held: str | None, why: str | None, is_in_window: bool
) -> None:
    assert reason(recorded, held, is_in_window) == why


def test_a_date_that_neither_has_is_due_in_the_window_only() -> None:
    assert reason(None, None, is_in_window=True) == MISSING
    assert reason(None, None, is_in_window=False) is None


def test_a_date_that_only_dagster_lost_is_marked_again_in_the_window_only() -> None:
    assert reason(None, NOW, is_in_window=True) == UNRECORDED
    assert reason(None, NOW, is_in_window=False) is None


def test_a_date_beyond_the_window_whose_partition_is_gone_is_left_alone() -> None:
    assert reason(BEFORE, BEFORE, is_in_window=False, version=EMPTY) is None
    assert reason(BEFORE, BEFORE, is_in_window=True, version=EMPTY) == "changed: its partition was deleted"


@pytest.mark.parametrize("is_in_window", [True, False])
@pytest.mark.parametrize("known", [NOW, BEFORE, None])
def test_a_date_that_lost_rows_is_due_whatever_its_version_is(known: str | None, is_in_window: bool) -> None:
    assert reason(known, known, is_in_window, removed="digest") == REMOVED


def test_a_date_that_lost_rows_is_left_alone_where_bigquery_no_longer_has_it() -> None:
    assert reason(NOW, NOW, is_in_window=False, version=EMPTY, removed="digest") is None
    assert reason(NOW, NOW, is_in_window=True, version=EMPTY, removed="digest") == REMOVED


@pytest.mark.parametrize("versions", [Versions({}, "state", is_per_date=False), Versions({}, None)])
def test_a_date_that_lost_rows_is_due_where_bigquery_does_not_tell_whether_it_has_it(versions: Versions) -> None:
    (due,) = plan_dates(CAMPAIGN_METRICS, [], versions, {}, {}, {DAY: "digest"})
    assert due.reason == REMOVED


def test_each_removal_is_asked_for_anew() -> None:
    first, second = (
        plan_dates(CAMPAIGN_METRICS, [DAY], Versions({DAY: NOW}, EMPTY), {}, {}, {DAY: digest})[0].version
        for digest in ("one", "two")
    )
    assert first != second
