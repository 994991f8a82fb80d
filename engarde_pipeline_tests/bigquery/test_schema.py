"""Rule 4: a whole-table fault is found before anything is read, and names table, column, found and expected."""

from datetime import date
from typing import Any

import pytest

from engarde_pipeline.bigquery.errors import SchemaMismatch, TableMissing
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, METRIC_TABLES, MetricTable
from engarde_pipeline_tests.world import ASSET_COLUMNS, CAMPAIGN_COLUMNS, PROJECT, World

EXPECTED = {
    "tenant_id": "STRING",
    "campaign_id": "STRING",
    "asset_id": "STRING",
    "platform": "STRING",
    "metric_date": "DATE",
    "impressions": "INT64",
    "clicks": "INT64",
    "spend": "FLOAT64 or NUMERIC or BIGNUMERIC",
    "conversions": "FLOAT64 or NUMERIC or BIGNUMERIC or INT64",
    "revenue": "FLOAT64 or NUMERIC or BIGNUMERIC",
    "engagements": "INT64",
}
EVERY_COLUMN = [
    *((CAMPAIGN_METRICS, column) for column in CAMPAIGN_COLUMNS),
    *((ASSET_METRICS, column) for column in ASSET_COLUMNS),
]


def _create(world: World, table: MetricTable, /, **types: Any) -> None:
    """Create a source table with columns added or retyped."""
    world.create_source(table, **types)


def _faults(world: World, table: MetricTable) -> list[str]:
    """The faults of a table that cannot be read; the error names the table around them."""
    with pytest.raises(SchemaMismatch) as raised:
        world.source.inspect(table)
    first, *faults, last = str(raised.value).splitlines()
    assert first == f"Table {PROJECT}.{world.dataset}.{table.source} cannot be read:"
    assert last == "Correct the table in BigQuery."
    return [fault.strip() for fault in faults]


@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.source)
def test_a_complete_table_is_read_in_every_column_we_need(world: World, table: MetricTable) -> None:
    world.create_source(table)
    columns = CAMPAIGN_COLUMNS if table is CAMPAIGN_METRICS else ASSET_COLUMNS
    assert world.source.inspect(table).columns == columns


def test_a_missing_table_is_named_with_what_to_check(world: World) -> None:
    with pytest.raises(TableMissing) as raised:
        world.source.inspect(CAMPAIGN_METRICS)
    assert f"BigQuery has no table {PROJECT}.{world.dataset}.campaign_metrics." in str(raised.value)
    assert "BIGQUERY_PROJECT_ID and BIGQUERY_DATASET_ID" in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("bigquery_dataset_id", "nowhere"), ("bigquery_project_id", "nobody")]
)
def test_a_missing_dataset_or_project_is_a_missing_table(world: World, variable: str, value: str) -> None:
    world.create_source()
    source = Source(world.settings.model_copy(update={variable: value}))
    with pytest.raises(TableMissing, match=value):
        source.inspect(CAMPAIGN_METRICS)


@pytest.mark.parametrize(("table", "column"), EVERY_COLUMN)
def test_a_missing_column_is_named_with_the_type_it_should_have(
    world: World, table: MetricTable, column: str
) -> None:
    world.create_source(table, without=[column], partitioned=False)
    assert _faults(world, table) == [f"column {column} is missing; expected {EXPECTED[column]}"]


@pytest.mark.parametrize(("table", "column"), EVERY_COLUMN)
def test_a_wrong_type_is_named_with_the_type_it_should_have(world: World, table: MetricTable, column: str) -> None:
    _create(world, table, partitioned=False, **{column: "TIMESTAMP"})
    assert _faults(world, table) == [f"column {column} has type TIMESTAMP; expected {EXPECTED[column]}"]


@pytest.mark.parametrize(
    ("column", "repeated", "found"),
    [
        ("spend", "ARRAY<FLOAT64>", "ARRAY<FLOAT64>"),
        ("clicks", "ARRAY<INT64>", "ARRAY<INT64>"),
        ("campaign_id", "ARRAY<STRING>", "ARRAY<STRING>"),
    ],
)
def test_a_repeated_column_is_refused_though_its_elements_fit(
    world: World, column: str, repeated: str, found: str
) -> None:
    _create(world, CAMPAIGN_METRICS, **{column: repeated})
    assert _faults(world, CAMPAIGN_METRICS) == [f"column {column} has type {found}; expected {EXPECTED[column]}"]


@pytest.mark.parametrize("amount", ["spend", "revenue"])
def test_whole_money_is_refused_since_it_could_be_micros(world: World, amount: str) -> None:
    _create(world, CAMPAIGN_METRICS, **{amount: "INT64"})
    assert _faults(world, CAMPAIGN_METRICS) == [f"column {amount} has type INT64; expected {EXPECTED[amount]}"]


@pytest.mark.parametrize("count", ["impressions", "clicks"])
def test_a_fractional_count_is_refused(world: World, count: str) -> None:
    _create(world, CAMPAIGN_METRICS, **{count: "FLOAT64"})
    assert _faults(world, CAMPAIGN_METRICS) == [f"column {count} has type FLOAT64; expected INT64"]


@pytest.mark.parametrize("amount", ["spend", "revenue"])
@pytest.mark.parametrize("kind", ["FLOAT64", "NUMERIC(38, 9)", "BIGNUMERIC"])
def test_money_may_be_float_or_numeric(world: World, amount: str, kind: str) -> None:
    _create(world, CAMPAIGN_METRICS, **{amount: kind})
    assert amount in world.source.inspect(CAMPAIGN_METRICS).columns


@pytest.mark.parametrize("kind", ["INT64", "FLOAT64", "NUMERIC(38, 9)", "BIGNUMERIC"])
def test_conversions_may_be_whole_or_split(world: World, kind: str) -> None:
    world.create_source(conversions=kind)
    assert "conversions" in world.source.inspect(CAMPAIGN_METRICS).columns


def test_every_fault_of_a_table_is_in_one_error(world: World) -> None:
    world.create_source(without=["tenant_id"], spend="INT64", clicks="STRING", revenue="ARRAY<FLOAT64>")
    assert _faults(world, CAMPAIGN_METRICS) == [
        "column tenant_id is missing; expected STRING",
        "column clicks has type STRING; expected INT64",
        f"column spend has type INT64; expected {EXPECTED['spend']}",
        f"column revenue has type ARRAY<FLOAT64>; expected {EXPECTED['revenue']}",
    ]


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        (CAMPAIGN_METRICS, "metric_hour", "INT64"),
        (ASSET_METRICS, "tenant_id", "STRING"),
        *((table, "currency", "STRING") for table in METRIC_TABLES),
    ],
)
def test_an_optional_column_is_read_where_it_is_there(
    world: World, table: MetricTable, column: str, kind: str
) -> None:
    _create(world, table, **{column: kind})
    assert world.source.inspect(table).columns[column] == kind


@pytest.mark.parametrize(
    ("table", "column", "wrong", "expected"),
    [
        (CAMPAIGN_METRICS, "metric_hour", "STRING", "INT64"),
        (CAMPAIGN_METRICS, "currency", "INT64", "STRING"),
        (ASSET_METRICS, "tenant_id", "INT64", "STRING"),
    ],
)
def test_an_optional_column_of_a_wrong_type_is_refused(
    world: World, table: MetricTable, column: str, wrong: str, expected: str
) -> None:
    _create(world, table, **{column: wrong})
    assert _faults(world, table) == [f"column {column} has type {wrong}; expected {expected}"]


def test_other_columns_are_ignored_whatever_their_type(world: World) -> None:
    world.create_source(
        ctr="STRING", cpc="TIMESTAMP", roas="ARRAY<FLOAT64>", note="STRUCT<a INT64>", spend2="DATE"
    )
    assert world.source.inspect(CAMPAIGN_METRICS).columns == CAMPAIGN_COLUMNS


def test_a_columns_upper_case_spelling_is_the_same_column(world: World) -> None:
    world.create_source(without=["spend"], SPEND="FLOAT64")
    assert world.source.inspect(CAMPAIGN_METRICS).columns["spend"] == "FLOAT64"


def test_a_partitioned_table_can_be_read_as_a_base_table(world: World) -> None:
    world.create_source()
    assert world.source.inspect(CAMPAIGN_METRICS).is_base_table


def test_an_unpartitioned_table_will_do(world: World) -> None:
    world.create_source(partitioned=False)
    assert world.source.inspect(CAMPAIGN_METRICS).columns == CAMPAIGN_COLUMNS


def test_a_view_will_do_and_is_not_taken_for_a_base_table(world: World) -> None:
    world.create_view()
    table = world.source.inspect(CAMPAIGN_METRICS)
    assert table.columns == CAMPAIGN_COLUMNS
    assert not table.is_base_table


def test_a_faulty_view_is_refused_as_a_table_is(world: World) -> None:
    world.create_view(select="* EXCEPT (clicks)")
    assert _faults(world, CAMPAIGN_METRICS) == ["column clicks is missing; expected INT64"]


def test_a_fault_of_the_source_stops_a_sync_and_changes_nothing(world: World) -> None:
    day = date(2026, 3, 1)
    tenant = world.tenant()
    world.campaign(tenant, "c1")
    world.load([{"tenant_id": str(tenant), "campaign_id": "c1", "platform": "meta", "metric_date": day}])
    world.sync_one(day)
    before = world.rows()

    world.create_source(without=["clicks"])
    with pytest.raises(SchemaMismatch):
        world.sync(day)

    assert len(before) == 1
    assert world.rows() == before
