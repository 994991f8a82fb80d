"""The state of a date: what each one means, whichever facts come together."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar, needs_attention, state_of
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS

NOW = datetime(2026, 3, 31, 11, tzinfo=UTC)
TODAY = NOW.date()
CALENDAR = SyncCalendar(NOW, first_date=date(2026, 1, 1), window_days=30, provisional_days=28)


def _day(ago: int) -> date:
    return TODAY - timedelta(days=ago)


def _synced(day: date, compared_at: datetime = NOW) -> DateFacts:
    return DateFacts(CAMPAIGN_METRICS, day, synced_at=compared_at, compared_at=compared_at)


@pytest.mark.parametrize(
    ("facts", "state", "attention"),
    [
        (_synced(_day(0)), DateState.PARTIAL, False),
        # At 11:00 UTC, yesterday is not over in UTC-12; an hour later it is.
        (_synced(_day(1)), DateState.PARTIAL, False),
        (_synced(_day(2)), DateState.PROVISIONAL, False),
        (_synced(_day(27)), DateState.PROVISIONAL, False),
        (_synced(_day(28)), DateState.COMPLETE, False),
        # Nobody has looked at BigQuery since that day was over.
        (_synced(_day(40), datetime(2026, 2, 20, 11, tzinfo=UTC)), DateState.PARTIAL, False),
        (replace(_synced(_day(3)), has_table=False), DateState.NO_TABLE, False),
        (DateFacts(CAMPAIGN_METRICS, _day(0)), DateState.MISSING, False),
        (DateFacts(CAMPAIGN_METRICS, _day(1)), DateState.MISSING, True),
        (DateFacts(CAMPAIGN_METRICS, _day(29)), DateState.MISSING, True),
        (DateFacts(CAMPAIGN_METRICS, _day(30)), DateState.MISSING, False),
        (DateFacts(CAMPAIGN_METRICS, date(2025, 12, 31)), None, False),
        (DateFacts(CAMPAIGN_METRICS, _day(-1)), None, False),
        (_synced(_day(-1)), DateState.PARTIAL, False),
        (replace(_synced(_day(5)), failed="why"), DateState.FAILED, True),
        (DateFacts(CAMPAIGN_METRICS, _day(-1), failed="why"), DateState.FAILED, True),
        (replace(_synced(_day(50)), failed="why", held="evidence"), DateState.HELD, True),
    ],
)
def test_each_state_and_whether_it_needs_a_person(
    facts: DateFacts, state: DateState | None, attention: bool
) -> None:
    assert (state_of(facts, CALENDAR), needs_attention(facts, CALENDAR)) == (state, attention)


MOMENTS = st.datetimes(datetime(2025, 12, 1), datetime(2026, 6, 1), timezones=st.just(UTC))  # noqa: DTZ001  as hypothesis wants


@st.composite
def dates_of_tables(draw: st.DrawFn) -> DateFacts:
    synced_at = draw(st.none() | MOMENTS)
    return DateFacts(
        draw(st.sampled_from([CAMPAIGN_METRICS, ASSET_METRICS])),
        draw(st.dates(date(2025, 12, 20), date(2026, 6, 3))),
        synced_at=synced_at,
        compared_at=synced_at and max(synced_at, draw(MOMENTS)),
        has_table=synced_at is None or draw(st.booleans()),
        held=draw(st.none() | st.just("evidence")),
        failed=draw(st.none() | st.just("why")),
    )


@given(dates_of_tables(), MOMENTS, st.integers(1, 40), st.integers(1, 40))
def test_a_state_promises_what_its_name_says(
    facts: DateFacts, now: datetime, window_days: int, provisional_days: int
) -> None:
    calendar = SyncCalendar(now, date(2026, 1, 1), window_days, provisional_days)
    state = state_of(facts, calendar)

    assert state_of(replace(facts, held="evidence"), calendar) is DateState.HELD
    assert (state is DateState.HELD) == (facts.held is not None)
    assert (state is DateState.FAILED) == (facts.failed is not None and facts.held is None)
    if state in (DateState.COMPLETE, DateState.PROVISIONAL):
        assert facts.compared_at is not None
        assert facts.has_table
        everywhere = datetime.combine(facts.day, time(), UTC) + timedelta(hours=36)
        assert facts.compared_at >= everywhere
        assert (state is DateState.PROVISIONAL) == ((now.date() - facts.day).days < provisional_days)
    if state is DateState.MISSING:
        assert facts.synced_at is None
        assert date(2026, 1, 1) <= facts.day <= now.date()
    if state is None:
        assert facts.synced_at is None
        assert not needs_attention(facts, calendar)
    assert (facts.reason is not None) == (state in (DateState.HELD, DateState.FAILED, DateState.NO_TABLE))


@given(dates_of_tables(), MOMENTS, MOMENTS)
def test_without_news_a_date_only_becomes_missing_or_complete(
    facts: DateFacts, one: datetime, other: datetime
) -> None:
    before, after = (state_of(facts, replace(CALENDAR, now=now)) for now in sorted((one, other)))

    assert before == after or (before, after) in (
        (None, DateState.MISSING),
        (DateState.PROVISIONAL, DateState.COMPLETE),
    )


def test_the_share_of_spend_that_is_rejected_is_by_currency() -> None:
    facts = replace(
        _synced(_day(3)),
        source_spend={"": Decimal(8), "EUR": Decimal(200), "USD": Decimal(0)},
        rejected_spend={"EUR": Decimal(50), "USD": Decimal(1), "": Decimal(9)},
    )

    # Slices that were synced since can have found more than the whole date had.
    assert facts.rejected_spend_share == {"EUR": 0.25, "": 1.0}
