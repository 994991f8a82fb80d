"""Charts: what is drawn, and the same as a table and a sentence."""

from datetime import date
from decimal import Decimal

from engarde_pipeline.core.restatement import RestatementDays
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.web import sparklines
from engarde_pipeline.web.charts import Chart, ChartNumbers, chart
from engarde_pipeline.web.metric_values import Sums
from engarde_pipeline.web.periods import DateNotes

ONE, TWO, THREE, FOUR = (date(2026, 3, number) for number in (1, 2, 3, 4))
CALENDAR = Calendar(date(2026, 1, 1), FOUR, RestatementDays({}, 30))
NOTHING: dict[date, Sums] = {}
NOTES = DateNotes(CALENDAR, frozenset([TWO]), THREE)


def sums(**measures: str) -> Sums:
    return Sums({name: Decimal(value) for name, value in measures.items()})


def made(measure: str = "spend", currency: str | None = "EUR", **lines: dict[date, Sums]) -> Chart:
    return chart(ChartNumbers(measure, currency, lines, [ONE, TWO, THREE, FOUR], NOTES))


def test_a_missing_date_is_a_gap_and_a_synced_date_without_a_row_is_zero() -> None:
    found = made(google={ONE: sums(spend="10")}, meta={ONE: sums(spend="1"), FOUR: sums(spend="2.5")})

    assert found.data["values"] == [[10, None, 0, 0], [1, None, 0, 2.5]]
    assert [(row.state, row.values) for row in found.rows] == [
        ("", ["10.00", "1.00", "11.00"]),
        ("missing", ["–", "–", "–"]),
        ("provisional", ["0.00", "0.00", "0.00"]),
        ("partial day", ["0.00", "2.50", "2.50"]),
    ]
    assert found.columns == ["google", "meta", "All"]
    assert found.has_gaps


def test_what_is_provisional_and_partial_is_marked_from_its_first_date() -> None:
    found = made(meta={ONE: sums(spend="1")})

    assert (found.data["first"], found.data["provisionalFrom"], found.data["partial"]) == (
        1772323200,
        1772323200 + 2 * 86400,
        [1772323200 + 3 * 86400],
    )
    assert (found.provisional_from, found.has_partial) == (THREE, True)


def test_a_ratio_of_all_lines_is_that_of_their_sums() -> None:
    found = made(
        "ctr",
        google={ONE: sums(impressions="100", clicks="10")},
        meta={ONE: sums(impressions="900", clicks="0")},
    )

    assert found.rows[0].values == ["10.00%", "0.00%", "1.00%"]
    assert found.rows[2].values == ["–", "–", "–"]  # no impressions
    assert found.data["kind"] == "percent"


def test_one_sentence_says_what_the_chart_shows() -> None:
    found = made(google={ONE: sums(spend="10")}, meta={ONE: sums(spend="1"), FOUR: sums(spend="2.5")})

    assert found.summary == (
        "Spend in EUR from 2026-03-01 to 2026-03-04: 13.50; highest on google with 10.00;"
        " by date between 0.00 on 2026-03-03 and 11.00 on 2026-03-01."
    )
    assert made("cpc", None, meta=NOTHING).summary == "CPC: no numbers in these dates."


def test_no_two_of_twelve_lines_look_the_same() -> None:
    found = chart(ChartNumbers("spend", None, {f"platform {n}": NOTHING for n in range(12)}, [ONE], NOTES))

    assert len({(series.colour, series.dashes) for series in found.series}) == 12
    assert len({series.dashes for series in found.series[:4]}) == 4


def test_a_sparkline_goes_from_zero_to_its_highest_value_and_has_gaps() -> None:
    values = [Decimal(0), Decimal(5), None, Decimal(10)]

    assert sparklines.path(values) == "M2 26h0L41 14M118 2h0"


def test_a_sparkline_without_values_is_flat_or_empty() -> None:
    assert sparklines.path([]) == ""
    assert sparklines.path([None, None]) == ""
    assert sparklines.path([Decimal(0), Decimal(0)]) == "M2 26h0L118 26"


def test_a_date_that_was_loaded_before_the_first_partition_is_not_called_missing() -> None:
    assert NOTES.state(date(2025, 12, 31)) == ""
    assert not NOTES.is_synced(date(2025, 12, 31))
