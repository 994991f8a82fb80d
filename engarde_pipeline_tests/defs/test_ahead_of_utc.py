"""Rule 15: a date is due from its first moment anywhere on Earth, once BigQuery has rows for it."""

from datetime import date, datetime, timedelta

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.runs.planning import current_plan, inspect_tables
from engarde_pipeline.sync.plan import MAY_HAVE_CHANGED
from engarde_pipeline_tests.dagster_runs import run_range
from engarde_pipeline_tests.shop import Shop

THE_5TH, THE_6TH = date(2026, 3, 5), date(2026, 3, 6)
BEFORE = ["2026-03-05T00:00:00+00:00", "2026-03-05T09:59:59+00:00"]
AHEAD = ["2026-03-05T10:00:00+00:00", "2026-03-05T23:59:59+00:00"]
MIDNIGHT = "2026-03-06T00:00:00+00:00"


def _due(instance: DagsterInstance, shop: Shop, now: str) -> dict[date, str]:
    """The dates of campaign_metrics that are due at a moment, and why."""
    source = shop.world.source
    tables = inspect_tables(source)
    plan = current_plan(instance, source, shop.world.connection, tables, datetime.fromisoformat(now)).due
    return {planned.day: planned.reason for planned in plan if planned.table is CAMPAIGN_METRICS}


@pytest.mark.parametrize(
    ("now", "last"),
    [*((now, THE_5TH) for now in BEFORE), *((now, THE_6TH) for now in AHEAD), (MIDNIGHT, THE_6TH)],
)
def test_a_date_with_rows_is_due_as_soon_as_it_is_a_date_on_earth(
    instance: DagsterInstance, shop: Shop, now: str, last: date
) -> None:
    shop.load(THE_5TH, THE_6TH)

    due = _due(instance, shop, now)

    assert max(due) == last
    assert set(due.values()) == {"missing: never synced"}


@pytest.mark.parametrize(
    ("now", "first", "last"),
    [
        *((now, date(2026, 2, 4), THE_5TH) for now in [*BEFORE, *AHEAD]),
        (MIDNIGHT, date(2026, 2, 5), THE_6TH),
    ],
)
def test_a_date_without_rows_is_due_from_midnight_utc_and_the_window_is_thirty_dates(
    instance: DagsterInstance, shop: Shop, now: str, first: date, last: date
) -> None:
    shop.load(THE_5TH)

    due = _due(instance, shop, now)

    assert list(due) == [first + timedelta(days=n) for n in range(30)]
    assert max(due) == last


def test_a_date_ahead_that_is_synced_is_due_no_longer(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(THE_5TH, THE_6TH)
    run_range(instance, THE_5TH, THE_6TH)

    for now in AHEAD:
        assert not {THE_5TH, THE_6TH} & set(_due(instance, shop, now))


def test_where_bigquery_does_not_tell_dates_the_one_ahead_is_looked_at_and_not_called_missing(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.world.create_view()

    assert max(_due(instance, shop, BEFORE[-1])) == THE_5TH
    assert _due(instance, shop, AHEAD[0])[THE_6TH] == MAY_HAVE_CHANGED
