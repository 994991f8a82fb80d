"""The strip of dates: each date in words, by month, with what needs a person before it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, METRIC_TABLES
from engarde_pipeline.web.freshness import MARKS, Freshness, freshness, shown_date, shown_days

NOW = datetime(2026, 3, 31, 11, tzinfo=UTC)
TODAY = NOW.date()
CALENDAR = SyncCalendar(NOW, first_date=date(2026, 1, 1), window_days=30, provisional_days=28)
AHEAD = TODAY + timedelta(days=1)


def _synced(day: date, at: datetime = NOW) -> DateFacts:
    return DateFacts(CAMPAIGN_METRICS, day, synced_at=at, compared_at=at)


def _page(days: list[date], *facts: DateFacts) -> Freshness:
    given = {(each.table, each.day): each for each in facts}
    everything = {(table, day): DateFacts(table, day) for table in METRIC_TABLES for day in days}
    return freshness((everything | given).values(), days, CALENDAR)


def test_every_state_has_a_word_and_a_symbol_of_its_own() -> None:
    assert MARKS.keys() == set(DateState)
    assert len({mark.symbol for mark in MARKS.values()}) == len({mark.label for mark in MARKS.values()}) == 7


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (_synced(date(2026, 2, 1)), "2026-02-01: complete"),
        (replace(_synced(date(2026, 2, 1)), rejected_records=1), "2026-02-01: complete, 1 rejected record"),
        (
            replace(_synced(date(2026, 2, 1)), rejected_records=1200),
            "2026-02-01: complete, 1,200 rejected records",
        ),
        (_synced(TODAY), "2026-03-31: partial day"),
        (_synced(date(2026, 3, 20)), "2026-03-20: provisional"),
        (DateFacts(CAMPAIGN_METRICS, date(2026, 3, 20)), "2026-03-20: missing"),
        (replace(_synced(date(2026, 3, 20)), held="secret"), "2026-03-20: held"),
        (replace(_synced(date(2026, 3, 20)), failed="secret"), "2026-03-20: failed"),
        (replace(_synced(date(2026, 3, 20)), has_table=False), "2026-03-20: no source"),
        (DateFacts(CAMPAIGN_METRICS, AHEAD), "2026-04-01: not expected yet"),
    ],
)
def test_a_date_is_a_sentence_without_reasons(facts: DateFacts, sentence: str) -> None:
    assert shown_date(facts, CALENDAR).sentence == sentence


def test_the_dates_end_ahead_of_utc_and_begin_at_the_first_partition() -> None:
    month = shown_days(30, CALENDAR, AHEAD)
    assert (month[0], month[-1], len(month)) == (date(2026, 3, 2), AHEAD, 31)
    assert shown_days(365, CALENDAR, TODAY)[0] == date(2026, 1, 1)


def test_dates_are_by_month_oldest_first_and_in_the_table_newest_first() -> None:
    days = [date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 2)]
    page = _page(days, _synced(days[0]), replace(_synced(days[1]), rejected_records=2))

    campaigns, creatives = page.strips
    assert [(month.name, [each.day for each in month.dates]) for month in campaigns.months] == [
        ("February 2026", days[:1]),
        ("March 2026", days[1:]),
    ]
    assert campaigns.summary == "2 complete, 1 missing, 2 rejected records"
    assert (creatives.name, creatives.summary) == ("Creatives", "3 missing")
    assert [row.day for row in page.rows] == days[::-1]
    assert [each.mark.label for each in page.rows[-1].dates] == ["complete", "missing"]


def test_the_moments_are_the_latest_of_the_dates_that_are_shown() -> None:
    earlier, later = NOW - timedelta(days=2), NOW - timedelta(hours=1)
    one, other = date(2026, 3, 1), date(2026, 3, 2)
    page = _page([one, other], _synced(one, earlier), replace(_synced(other, earlier), compared_at=later))
    assert (page.last_synced_at, page.last_compared_at) == (earlier, later)

    never = _page([one])
    assert (never.last_synced_at, never.last_compared_at) == (None, None)


def test_older_dates_are_named_only_if_they_need_a_person() -> None:
    old, older = date(2026, 1, 5), date(2026, 1, 6)
    held = replace(_synced(old), held="why")
    failed = DateFacts(ASSET_METRICS, older, failed="why")
    page = freshness(
        [held, failed, _synced(date(2026, 1, 7)), *(DateFacts(t, TODAY) for t in METRIC_TABLES)], [TODAY], CALENDAR
    )
    assert page.older == "2026-01-05 to 2026-01-06"
    assert _page([TODAY]).older == ""
