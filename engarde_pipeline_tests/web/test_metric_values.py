"""Sums, ratios of sums, and both as text."""

from decimal import Decimal

import pytest

from engarde_pipeline.core.currencies import MALFORMED
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.web.metric_values import Sums, in_currency, isolated, label, names_of, shown, sums_of, total
from engarde_pipeline.web.rendering import currency_name


def sums(**measures: str) -> Sums:
    return Sums({name: Decimal(value) for name, value in measures.items()})


def test_a_ratio_is_that_of_the_sums_and_no_average_of_ratios() -> None:
    # 10 % and 1 %: their average would be 5.5 %, but 20 clicks of 1,100 impressions are 1.81... %.
    parts = [sums(impressions="100", clicks="10"), sums(impressions="1000", clicks="10")]

    ctr = total(parts).value("ctr")

    assert ctr is not None
    assert round(ctr, 4) == Decimal("1.8182")


def test_a_ratio_with_denominator_zero_has_no_value() -> None:
    assert sums(revenue="5").value("roas") is None
    assert shown("roas", None) == "–"


def test_sums_are_exact_beyond_the_digits_of_floats_and_of_decimals_default() -> None:
    huge = sums(spend="12345678901234567890123456789012.000001")

    assert total([huge, sums(spend="0.000001")]).value("spend") == Decimal(
        "12345678901234567890123456789012.000002"
    )


def test_values_are_in_the_order_of_the_tables_measures() -> None:
    found = sums_of([Decimal(each) for each in (1000, 10, 5, 2, 20)])

    assert {name: found.value(name) for name in names_of()} == {
        "impressions": 1000,
        "clicks": 10,
        "spend": 5,
        "conversions": 2,
        "revenue": 20,
        "ctr": 1,
        "cpc": Decimal("0.5"),
        "cpm": 5,
        "roas": 4,
        "conversion_rate": 20,
    }
    assert names_of(ASSET_METRICS)[-1] == "engagement_rate"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("spend", "1234.5", "1,234.50"),
        ("cpc", "0.456", "0.46"),
        ("impressions", "1234567", "1,234,567"),
        ("conversions", "3.5", "3.50"),
        ("conversions", "3", "3"),
        ("ctr", "1.818", "1.82%"),
        ("roas", "4.1", "4.10"),
    ],
)
def test_values_are_shown_with_the_decimals_and_the_unit_of_their_measure(
    name: str, value: str, text: str
) -> None:
    assert shown(name, Decimal(value)) == text


def test_only_money_is_labelled_with_a_currency() -> None:
    assert in_currency("cpc", "EUR") == "CPC in EUR"
    assert in_currency("roas", "EUR") == "ROAS"
    assert in_currency("spend", None) == "Spend"
    assert label("conversion_rate") == "Conversion rate"


def test_text_that_could_turn_the_direction_of_a_sentence_is_isolated() -> None:
    assert isolated("meta") == "meta"
    assert isolated("\u202eatem") == "\u2068\u202eatem\u2069"


@pytest.mark.parametrize(
    ("currency", "name"),
    [("EUR", "EUR"), ("", "no currency"), (None, "no currency"), (MALFORMED, "no valid currency")],
)
def test_amounts_without_a_valid_currency_are_named_as_groups_of_their_own(
    currency: str | None, name: str
) -> None:
    assert currency_name(currency) == name
