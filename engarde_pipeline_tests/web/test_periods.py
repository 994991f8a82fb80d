"""The period of a page, the one before it, its parameters and its notes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from engarde_pipeline.core.restatement import RestatementDays
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.web.page_parameters import OverviewParameters
from engarde_pipeline.web.periods import Comparison, Period, comparison
from engarde_pipeline.web.range_view import range_view
from engarde_pipeline.web.trust_notes import Trust, notes

TODAY = date(2026, 3, 31)
CALENDAR = Calendar(date(2026, 1, 1), TODAY, RestatementDays({}, 30))


def period(start: date, end: date) -> Period:
    return Period(start, end, CALENDAR)


def test_the_period_before_has_the_same_length_and_ends_the_day_before() -> None:
    found = period(date(2026, 3, 1), date(2026, 3, 7))

    assert (found.days, found.before_start, found.before_end) == (7, date(2026, 2, 22), date(2026, 2, 28))


def test_the_date_ahead_of_utc_does_not_make_a_period_longer() -> None:
    found = period(date(2026, 3, 2), date(2026, 4, 1))

    assert (found.days, found.before_start) == (30, date(2026, 1, 31))
    assert period(date(2026, 4, 1), date(2026, 4, 1)).days == 1


def test_the_calendar_can_begin_and_end() -> None:
    found = period(date.min, date.max)

    assert found.before_start == found.before_end == date.min
    assert next(found.shown_dates(TODAY, [])) == CALENDAR.first_date
    assert next(found.shown_dates(TODAY, [date(2025, 12, 31)])) == date(2025, 12, 31)


def test_dates_that_the_period_before_lacks_are_said() -> None:
    found = period(date(2026, 3, 8), date(2026, 3, 14))

    def sentence(dates_before: int, *, has_numbers: bool, of: Period = found) -> str:
        return comparison(of, (), dates_before, has_numbers).sentence

    assert comparison(found, (), 7, has_numbers=True) == Comparison(
        True, "Compared with the 7 days before, 2026-03-01 to 2026-03-07."
    )
    assert comparison(found, (), 5, has_numbers=True) == Comparison(
        False,
        "2 of the 7 days before, 2026-03-01 to 2026-03-07, have never been synced, so the figures cannot be"
        " compared with those before.",
    )
    assert comparison(found, (), 0, has_numbers=False) == Comparison(
        False,
        "There is nothing to compare with: the 7 days before, 2026-03-01 to 2026-03-07, have never been synced.",
    )
    assert sentence(0, has_numbers=True).startswith("7 of the 7 days before, ")
    one = period(date(2026, 3, 8), date(2026, 3, 8))
    assert sentence(1, has_numbers=False, of=one) == "Compared with the day before, 2026-03-07."
    assert sentence(0, has_numbers=True, of=one).startswith(
        "The day before, 2026-03-07, has never been synced, so"
    )
    assert sentence(6, has_numbers=True).startswith("1 of the 7 days before, 2026-03-01 to 2026-03-07, has")


def test_a_range_that_lacks_dates_is_not_compared() -> None:
    found = period(TODAY - timedelta(days=6), TODAY)
    before = f"the 7 days before, {TODAY - timedelta(days=13)} to {TODAY - timedelta(days=7)}"

    def compared(*missing: date) -> Comparison:
        return comparison(found, missing, 7, has_numbers=True)

    assert compared(TODAY - timedelta(days=2), TODAY - timedelta(days=1)) == Comparison(
        False, f"Not compared with {before}: 2 dates of this range have never been synced."
    )
    assert compared(TODAY - timedelta(days=1), TODAY) == Comparison(
        False, f"Not compared with {before}: 1 date of this range has never been synced."
    )
    assert compared(TODAY).is_possible, "it is not over, whether it has been synced or not"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"start_date": "1 March"}, "start_date"),
        ({"end_date": "2026-02-30"}, "end_date"),
        ({"days": "0"}, "days"),
        ({"days": "1.0"}, "days"),
        ({"measure": "tenant"}, "measure"),
        ({"order_by": "password"}, "order_by"),
        ({"order": "up"}, "order"),
        ({"limit": "201"}, "limit"),
        ({"platform": "a\x00b"}, "platform"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(values: dict[str, str], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        OverviewParameters.model_validate(values)
    assert raised.value.errors()[0]["loc"][0] == field


def test_a_link_has_the_whole_state_and_no_defaults() -> None:
    blank = {"start_date": "", "end_date": "", "platform": "", "order": "", "days": ""}
    assert OverviewParameters.model_validate(blank).query == ""
    parameters = OverviewParameters.model_validate({"days": "7", "platform": "a&b", "order_by": "name"})

    assert parameters.query == "?days=7&platform=a%26b&order_by=name"
    assert parameters.with_days(90).query == "?days=90&platform=a%26b&order_by=name"
    assert parameters.range_query(30) == "?days=7"
    assert OverviewParameters().range_query(30) == "?days=30"
    assert parameters.kept_by_form == [("order_by", "name")]


def test_a_column_is_ordered_by_twice_in_both_directions() -> None:
    parameters = OverviewParameters()
    assert parameters.is_descending
    again = parameters.ordered_by("spend")
    assert (again.order, again.is_descending) == ("asc", False)
    by_name = parameters.ordered_by("name")
    assert (by_name.order_by, by_name.is_descending) == ("name", False)
    assert by_name.ordered_by("name").is_descending


def test_the_range_of_the_page_is_marked_among_the_choices() -> None:
    view = range_view("/", OverviewParameters(), period(date(2026, 3, 1), TODAY), 30)

    assert [choice.text for choice in view.presets if choice.is_current] == ["30 days"]


def test_notes_say_in_words_how_far_to_trust_the_numbers() -> None:
    days = [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 9)]
    trust = Trust(datetime(2026, 3, 31, 8, 5, tzinfo=UTC), frozenset(days), date(2026, 3, 2), 3)

    texts = [note.text for note in notes(trust, period(date(2026, 3, 1), TODAY), [])]

    assert texts == [
        "Compared with BigQuery at 2026-03-31 08:05 UTC or later.",
        "3 dates in this range have never been synced: 2026-03-01 to 2026-03-02, 2026-03-09.",
        "3 records could not be loaded and are not in these numbers.",
        "Today (2026-03-31, UTC) is not over, so its numbers are partial.",
        "Numbers from 2026-03-02 on are provisional: platforms may restate them.",
    ]


def test_many_gaps_are_counted() -> None:
    days = frozenset(date(2026, 1, 1) + timedelta(days=2 * number) for number in range(8))
    trust = Trust(datetime(2026, 3, 31, tzinfo=UTC), days, None, 1)

    _, missing, rejected = (note.text for note in notes(trust, period(date(2026, 1, 1), date(2026, 2, 1)), []))

    assert missing.endswith("2026-01-07, 2026-01-09 and 3 more ranges.")
    assert rejected == ("1 record could not be loaded and is not in these numbers.")


def test_held_dates_show_the_numbers_of_an_earlier_sync() -> None:
    missing, held, other = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 5)
    trust = Trust(datetime(2026, 3, 9, tzinfo=UTC), frozenset([missing]), None, 0)
    march = period(missing, date(2026, 3, 9))

    def said(*dates: date) -> list[str]:
        return [note.text for note in notes(trust, march, dates) if "held" in note.text]

    assert said(missing) == []
    assert said(missing, held) == [
        "1 date is held, because its last load looked wrong, and shows the numbers of an earlier sync: 2026-03-02."
    ]
    assert said(held, other) == [
        "2 dates are held, because their last load looked wrong, and show the numbers of an earlier sync:"
        " 2026-03-02, 2026-03-05."
    ]


def test_a_range_that_was_never_synced_says_only_that() -> None:
    trust = Trust(None, frozenset([date(2026, 3, 1)]), None, 0)

    (note,) = notes(trust, period(date(2026, 3, 1), date(2026, 3, 1)), [])

    assert (note.text, note.link) == ("None of these dates has ever been synced.", "/freshness?days=90")
