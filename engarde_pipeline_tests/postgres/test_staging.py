"""Staging: what Arrow can hold arrives digit by digit and character by character, and each key once."""

from collections.abc import Sequence
from datetime import date
from decimal import Context, Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.load.copy_formats import as_decimals
from engarde_pipeline.postgres.load.key_numbers import KeyNumbers
from engarde_pipeline.postgres.load.staging import stage

DAY = date(2026, 3, 1)


def staged(connection: psycopg.Connection, column: str, *batches: Sequence[Any], kind: pa.DataType) -> list[Any]:
    """Stage `batches` of one column beside the date and the platform; return what arrived."""
    made = [
        pa.RecordBatch.from_arrays(
            [
                pa.array([DAY] * len(values), pa.date32()),
                pa.array(["meta"] * len(values), pa.string()),
                pa.array(values, kind),
            ],
            ["metric_date", "platform", column],
        )
        for values in batches
    ]
    rows = stage(connection, CAMPAIGN_METRICS, ["metric_date", "platform", column], made)
    found = connection.execute(
        f"SELECT {column} FROM staged JOIN staged_keys USING (key_number) ORDER BY staged.ctid".encode()
    ).fetchall()
    assert rows == len(found)
    return [row[0] for row in found]


@pytest.mark.parametrize(
    ("kind", "digits"),
    [
        (pa.decimal128(38, 9), ["98765432.123456789", "0.000000001", "0.000000000", "-1.500000000"]),
        (pa.decimal128(38, 9), ["12345678901234567890123456789.987654321"]),
        (pa.decimal256(76, 38), ["0." + "0" * 37 + "1", "3" * 38 + "." + "7" * 38]),
        (pa.float64(), ["0.1", "1E-7", "1E+22", "98765432.123456", "1.7976931348623157E+308", "5E-324"]),
        (pa.int64(), ["9223372036854775807", "0"]),
    ],
)
def test_every_type_of_amount_arrives_digit_by_digit(
    connection: psycopg.Connection, kind: pa.DataType, digits: list[str]
) -> None:
    amounts = [Decimal(text) for text in digits]
    convert = {pa.float64(): float, pa.int64(): int}.get(kind, Decimal)

    found = staged(connection, "conversions", [convert(amount) for amount in amounts], kind=kind)

    assert [Context(prec=400).plus(amount) for amount in found] == amounts


def test_what_is_no_number_arrives_as_such(connection: psycopg.Connection) -> None:
    values = [float("nan"), float("inf"), float("-inf"), None]

    found = staged(connection, "spend", values, kind=pa.float64())

    assert list(map(str, found)) == ["NaN", "Infinity", "-Infinity", "None"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_arrives_character_by_character(connection: psycopg.Connection, kind: pa.DataType) -> None:
    values = ["", None, '"', '""', "a,b", "\\N", "\\.", "a\nb", "a\r\nb", " ", "\t", "日本語 🤺", "NULL"]

    assert staged(connection, "campaign_id", values, kind=kind) == values


def test_a_nul_is_spelled_out_and_marked(connection: psycopg.Connection) -> None:
    found = staged(connection, "campaign_id", ["a\x00b", "ab", None], kind=pa.string())

    assert found == ["a\\u0000b", "ab", None]
    marks = connection.execute("SELECT key_fault FROM staged_keys ORDER BY key_number").fetchall()
    assert marks == [("malformed_key",), (None,), (None,)]


def test_batches_follow_each_other_and_empty_ones_do_no_harm(connection: psycopg.Connection) -> None:
    assert staged(connection, "clicks", [1, 2], [], [3], kind=pa.int64()) == [1, 2, 3]
    assert staged(connection, "clicks", kind=pa.int64()) == []


def test_batches_that_need_text_and_others_arrive_in_their_order(connection: psycopg.Connection) -> None:
    nan = float("nan")

    found = staged(
        connection, "spend", [0.25, -0.000001], [1e-7, 2.0], [nan], [None, 0.1], [], [3.0], kind=pa.float64()
    )

    assert list(map(str, found)) == ["0.250000", "-0.000001", "1E-7", "2", "NaN", "None", "0.100000", "3.000000"]


@given(st.lists(st.floats() | st.integers(-(10**16), 10**16).map(lambda micros: micros / 1_000_000)))
def test_a_float_is_a_decimal_only_if_it_is_the_shortest_one(amounts: list[float]) -> None:
    decimals = as_decimals([pa.array(amounts, pa.float64())])

    assert decimals is None or decimals[0].to_pylist() == [Decimal(repr(amount)) for amount in amounts]


@pytest.mark.parametrize("amount", [0.0, -0.0, 0.1, 12.34, -98765432.123456, 999_999_999.999999])
def test_an_amount_in_micros_needs_no_text(amount: float) -> None:
    sliced = pa.array([None, amount, None], pa.float64())[1:]

    assert as_decimals([sliced]) == [pa.array([Decimal(repr(amount)), None], pa.decimal128(38, 6))]


def test_a_second_staging_replaces_the_first(connection: psycopg.Connection) -> None:
    staged(connection, "clicks", [1, 2], kind=pa.int64())

    assert staged(connection, "clicks", [3], kind=pa.int64()) == [3]


def test_columns_that_the_source_lacks_are_null(connection: psycopg.Connection) -> None:
    staged(connection, "clicks", [1], kind=pa.int64())

    rows = connection.execute(
        "SELECT metric_date, spend, metric_hour, tenant_id FROM staged JOIN staged_keys USING (key_number)"
    ).fetchall()
    assert rows == [(DAY, None, None, None)]


def test_a_key_is_staged_once_however_many_rows_and_batches_it_has(connection: psycopg.Connection) -> None:
    found = staged(connection, "campaign_id", ["b", "a", "b"], ["a", None, "c"], kind=pa.string())

    assert found == ["b", "a", "b", "a", None, "c"]
    keys = connection.execute("SELECT key_number, campaign_id FROM staged_keys ORDER BY 1").fetchall()
    assert keys == [(0, "b"), (1, "a"), (2, None), (3, "c")]


@given(
    st.lists(
        st.lists(st.tuples(*[st.none() | st.sampled_from(["", "a", "b", "ab", "a,b", "\x1f", "é"])] * 3)),
        min_size=1,
        max_size=4,
    )
)
def test_keys_have_the_same_number_exactly_if_they_are_equal(batches: list[list[tuple[str | None, ...]]]) -> None:
    numbers = KeyNumbers(3)
    given_to: dict[tuple[str | None, ...], int] = {}
    for batch in batches:
        columns = [pa.array([key[n] for key in batch], pa.string()) for n in range(3)]
        for key, number in zip(batch, numbers.of(columns).to_pylist(), strict=True):
            assert given_to.setdefault(key, number) == number
    if given_to:
        assert list(zip(*(column.to_pylist() for column in numbers.distinct()), strict=True)) == list(given_to)
