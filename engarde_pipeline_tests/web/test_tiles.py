"""Tiles: the figures of a period beside those of the period before."""

from decimal import Decimal

import pytest

from engarde_pipeline.web.metric_values import Sums
from engarde_pipeline.web.tiles import Change, Tile, change_of, tiles


def sums(**measures: str) -> Sums:
    return Sums({name: Decimal(value) for name, value in measures.items()})


def by_name(now: Sums | None, before: Sums | None) -> dict[str, Tile]:
    return {tile.name: tile for tile in tiles(now, before)}


def test_each_figure_has_its_change_in_percent_of_the_one_before() -> None:
    now = sums(spend="150", revenue="600", impressions="1000", clicks="30", conversions="3")
    before = sums(spend="100", revenue="800", impressions="1000", clicks="20", conversions="3")

    found = by_name(now, before)

    assert found["Spend"] == Tile("Spend", "150.00", "100.00", Change("50.0%", "up", ""))
    assert found["Revenue"] == Tile("Revenue", "600.00", "800.00", Change("25.0%", "down", "bad"))
    # 4 after 8, and 3 % after 2 %.
    assert found["ROAS"] == Tile("ROAS", "4.00", "8.00", Change("50.0%", "down", "bad"))
    assert found["CTR"] == Tile("CTR", "3.00%", "2.00%", Change("50.0%", "up", "good"))
    assert found["Conversions"] == Tile("Conversions", "3", "3", Change("unchanged"))


def test_without_a_period_before_there_is_no_change() -> None:
    found = by_name(sums(spend="150"), None)

    assert {tile.change for tile in found.values()} == {Change("no data before")}
    assert {tile.before for tile in found.values()} == {None}


def test_a_period_before_that_lacks_dates_is_shown_and_not_compared() -> None:
    found = tiles(sums(spend="150"), sums(spend="5"), are_comparable=False)

    assert found[0] == Tile("Spend", "150.00", "5.00", Change("not comparable"))
    assert {tile.change for tile in found} == {Change("not comparable")}


def test_a_currency_that_has_numbers_only_before_has_gone_down_to_zero() -> None:
    found = by_name(None, sums(spend="100", revenue="200"))

    assert found["Spend"] == Tile("Spend", "0.00", "100.00", Change("100.0%", "down", ""))
    assert found["ROAS"] == Tile("ROAS", "–", "2.00", Change("no value now"))


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [
        ("5", "0", Change("from 0", "up", "good")),
        ("0", "0", Change("unchanged")),
        ("5", None, Change("no value before")),
        ("100000.01", "100000", Change("less than 0.1%", "up", "good")),
        ("100", "3", Change("3,233.3%", "up", "good")),
        ("2", "3", Change("33.3%", "down", "bad")),
    ],
)
def test_a_change_that_has_no_percentage_is_said_in_words(now: str, before: str | None, change: Change) -> None:
    assert change_of("revenue", Decimal(now), None if before is None else Decimal(before)) == change


def test_the_direction_is_a_sign_and_a_word_and_never_a_colour_alone() -> None:
    assert [Change("1%", "up").arrow, Change("1%", "down").arrow, Change("unchanged").arrow] == ["▲", "▼", ""]
