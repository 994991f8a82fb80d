"""Extraction: the same rows whichever way they are read, only those asked for, and never all in memory."""

import json
import logging
import tracemalloc
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engarde_pipeline.bigquery.extraction import Selection, Source
from engarde_pipeline.bigquery.sums import sums_by_date
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline_tests.bigquery.faulty import Answer, Proxy, Request, answer
from engarde_pipeline_tests.world import ASSET_COLUMNS, CAMPAIGN_COLUMNS, World

DAY = date(2026, 3, 1)
ACME = UUID("aaaaaaaa-0000-4000-8000-00000000000a")
OTHER = UUID("bbbbbbbb-0000-4000-8000-00000000000b")
WEIRD_IDS = [
    "it's",
    'say "hi"',
    "back\\slash",
    "C:\\new",
    "日本語 Ω 😀",
    "a,b\nc\td",
    "`); DROP TABLE x; --",
    "@start",
    "",
]
EVERYTHING = Selection()


def _row(campaign_id: str | None = "c1", day: date = DAY, **columns: Any) -> dict[str, Any]:
    return {
        "tenant_id": str(ACME),
        "campaign_id": campaign_id,
        "platform": "meta",
        "metric_date": day,
        **columns,
    }


def _read(
    source: Source,
    start: date = DAY,
    end: date = DAY,
    selection: Selection = EVERYTHING,
    table: MetricTable = CAMPAIGN_METRICS,
) -> tuple[str, list[dict[str, Any]]]:
    """How the rows were read, and the rows."""
    extraction = source.read(source.inspect(table), start, end, selection)
    rows = [row for batch in extraction.batches for row in batch.to_pylist()]
    return extraction.method, rows


def _campaigns(source: Source, start: date = DAY, end: date = DAY, **selection: Any) -> list[str]:
    _, rows = _read(source, start, end, Selection(**selection))
    return sorted(str(row["campaign_id"]) for row in rows)


def _unordered(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, rows))  # as text, since NaN equals nothing


# Both ways give the same rows

_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_COUNT = st.none() | st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.none() | st.floats()
_NUMERIC = st.none() | st.decimals(
    min_value=Decimal("-1e28"), max_value=Decimal("1e28"), places=9, allow_nan=False, allow_infinity=False
)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "tenant_id": _TEXT,
            "campaign_id": _TEXT,
            "platform": _TEXT,
            "metric_date": st.just(DAY),
            "metric_hour": st.none() | st.integers(-1, 24),
            "impressions": _COUNT,
            "clicks": _COUNT,
            "spend": _FLOAT,
            "conversions": _NUMERIC,
            "revenue": _FLOAT,
            "currency": _TEXT,
        }
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.long
@given(rows=_ROWS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
def test_storage_api_and_query_give_the_rows_that_were_loaded(
    world: World, query_source: Source, rows: list[dict[str, Any]]
) -> None:
    world.create_source(metric_hour="INT64", conversions="NUMERIC(38, 9)", currency="STRING")
    world.load(rows)
    method, streamed = _read(world.source)
    other_method, queried = _read(query_source)
    assert (method, other_method) == ("storage_read_api", "query")
    assert _unordered(streamed) == _unordered(queried)
    columns = list(streamed[0])
    assert _unordered(streamed) == _unordered([{column: row[column] for column in columns} for row in rows])


def test_both_ways_have_the_same_columns_in_the_same_order_and_types(world: World, query_source: Source) -> None:
    world.create_source(metric_hour="INT64", spend="NUMERIC(38, 9)", ctr="FLOAT64")
    world.load([_row(spend=Decimal("1.5"))])
    table = world.source.inspect(CAMPAIGN_METRICS)
    schemas = [
        [(field.name, field.type) for field in batch.schema]
        for source in (world.source, query_source)
        for batch in source.read(table, DAY, DAY).batches
    ]
    assert schemas
    assert all(schema == schemas[0] for schema in schemas)
    assert [name for name, _ in schemas[0]] == list(table.columns)


# Which way is taken


def test_an_emulator_without_a_storage_host_is_read_by_queries(world: World, query_source: Source) -> None:
    world.load([_row()])
    method, rows = _read(query_source)
    assert (method, len(rows)) == ("query", 1)


def test_a_view_is_read_by_a_query(world: World) -> None:
    world.create_view()
    world.load([_row("seen through the view")])
    method, rows = _read(world.source)
    assert method == "query"
    assert [row["campaign_id"] for row in rows] == ["seen through the view"]


def test_an_unpartitioned_table_is_read_through_the_storage_api(world: World) -> None:
    world.create_source(partitioned=False)
    world.load([_row(), _row(day=DAY - timedelta(days=1))])
    method, rows = _read(world.source)
    assert (method, len(rows)) == ("storage_read_api", 1)


def test_a_dead_storage_port_falls_back_to_a_query_with_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.load([_row()])
    dead = Source(world.settings.model_copy(update={"bigquery_storage_emulator_host": "127.0.0.1:9"}))
    with caplog.at_level(logging.WARNING, "engarde_pipeline"):
        method, rows = _read(dead)
    assert (method, len(rows)) == ("query", 1)
    assert "by a query, because the Storage Read API is not available: 503" in caplog.text


# Only what is asked for


@pytest.mark.parametrize("way", ["storage_read_api", "query"])
def test_only_the_dates_asked_for_are_read(world: World, query_source: Source, way: str) -> None:
    world.load([_row(f"{n:+}", DAY + timedelta(days=n)) for n in range(-2, 4)])
    source = world.source if way == "storage_read_api" else query_source
    method, rows = _read(source, DAY, DAY + timedelta(days=1))
    assert method == way
    assert sorted(row["campaign_id"] for row in rows) == ["+0", "+1"]


@pytest.mark.parametrize("way", ["storage_read_api", "query"])
@pytest.mark.parametrize("loaded", [[], [_row(day=date(2026, 2, 28))]], ids=["empty table", "empty date"])
def test_a_date_without_rows_gives_none(
    world: World, query_source: Source, way: str, loaded: list[dict[str, Any]]
) -> None:
    world.create_source()
    if loaded:
        world.load(loaded)
    assert _read(world.source if way == "storage_read_api" else query_source) == (way, [])


@pytest.mark.parametrize("way", ["storage_read_api", "query"])
def test_only_the_columns_we_need_are_read(world: World, query_source: Source, way: str) -> None:
    world.create_source(ctr="FLOAT64", note="STRING")
    world.load([_row(ctr=1.0, note="not ours")])
    _, (row,) = _read(world.source if way == "storage_read_api" else query_source)
    assert set(row) == {"metric_date", "tenant_id", "campaign_id", "platform", *CAMPAIGN_METRICS.measure_names}


def test_columns_the_source_lacks_are_not_made_up(world: World) -> None:
    world.load([{"campaign_id": "c1", "asset_id": "a1", "platform": "meta", "metric_date": DAY}], ASSET_METRICS)
    _, (row,) = _read(world.source, table=ASSET_METRICS)
    assert "tenant_id" not in row


# A slice


def test_a_slice_is_read_by_a_query(world: World) -> None:
    world.load([_row()])
    method, _ = _read(world.source, selection=Selection(platforms=("meta",)))
    assert method == "query"


def test_a_tenants_slice_has_its_rows_and_those_without_a_tenant(world: World) -> None:
    world.load(
        [
            _row("mine"),
            _row("shouted", tenant_id=str(ACME).upper()),
            _row("nobody's", tenant_id=None),
            _row("other", tenant_id=str(OTHER)),
            _row("malformed", tenant_id="acme"),
        ]
    )
    assert _campaigns(world.source, tenant_id=ACME) == ["mine", "nobody's", "shouted"]


def test_a_tenants_slice_of_a_table_without_tenants_has_every_row(world: World) -> None:
    world.load([{"campaign_id": "c1", "asset_id": "a1", "platform": "meta", "metric_date": DAY}], ASSET_METRICS)
    _, rows = _read(world.source, selection=Selection(tenant_id=ACME), table=ASSET_METRICS)
    assert len(rows) == 1


def test_a_platforms_slice_has_its_rows_and_those_without_a_platform(world: World) -> None:
    world.load([_row(str(name), platform=name) for name in ("meta", "google", "Meta", "tiktok", None)])
    assert _campaigns(world.source, platforms=("meta", "tiktok")) == ["None", "meta", "tiktok"]


@pytest.mark.parametrize("campaign_id", WEIRD_IDS)
def test_a_campaigns_slice_has_just_that_campaign_whatever_its_id(world: World, campaign_id: str) -> None:
    world.load([_row(other) for other in WEIRD_IDS])
    assert _campaigns(world.source, campaign_ids=(campaign_id,)) == [campaign_id]


def test_the_parts_of_a_slice_narrow_each_other_and_the_dates(world: World) -> None:
    world.load(
        [
            _row("c1"),
            _row("c2"),
            _row("c1", platform="google"),
            _row("c1", tenant_id=str(OTHER)),
            _row("c1", DAY + timedelta(days=1)),
        ]
    )
    selection = Selection(tenant_id=ACME, platforms=("meta",), campaign_ids=("c1",))
    _, rows = _read(world.source, selection=selection)
    assert [(row["campaign_id"], row["platform"], row["metric_date"]) for row in rows] == [("c1", "meta", DAY)]


# Memory


def test_a_large_date_arrives_whole_and_never_all_in_memory(world: World) -> None:
    rows = 800_000
    world.create_source()
    world.execute(
        f"INSERT INTO {world.dataset}.campaign_metrics"
        f" SELECT '{ACME}', CONCAT('campaign-', CAST(n AS STRING)), 'meta', DATE '{DAY}', n, n, 1.5, n, 2.5"
        f" FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS n"
    )
    extraction = world.source.read(world.source.inspect(CAMPAIGN_METRICS), DAY, DAY)
    tracemalloc.start()
    try:
        sizes = [(batch.num_rows, batch.nbytes) for batch in extraction.batches]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(size for size, _ in sizes) == rows
    assert peak < sum(size for _, size in sizes) / 2


# Column names in any case


def _mixed_case_source(world: World, table: MetricTable) -> None:
    """Create a source table with one row, whose columns are spelled in three ways."""
    types = CAMPAIGN_COLUMNS if table is CAMPAIGN_METRICS else {"tenant_id": "STRING", **ASSET_COLUMNS}
    spellings = [str.title, str.upper, str.lower]
    definition = ", ".join(f"{spellings[n % 3](name)} {kind}" for n, (name, kind) in enumerate(types.items()))
    name = f"{world.dataset}.{table.source}"
    world.execute(f"CREATE TABLE {name} ({definition}) PARTITION BY metric_date")
    values = {"tenant_id": f"'{ACME}'", "campaign_id": "'c1'", "asset_id": "'a1'", "platform": "'meta'"}
    row = {column: values.get(column, "7") for column in types} | {"metric_date": f"DATE '{DAY}'"}
    world.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({', '.join(row.values())})")


@pytest.mark.parametrize("selection", [EVERYTHING, Selection(ACME, ("meta",), ("c1",))], ids=["all", "a slice"])
@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.source)
@pytest.mark.parametrize("way", ["storage_read_api", "query"])
def test_columns_in_any_case_are_read_under_our_names(
    world: World, query_source: Source, way: str, table: MetricTable, selection: Selection
) -> None:
    _mixed_case_source(world, table)
    source = world.source if way == "storage_read_api" else query_source

    _, (row,) = _read(source, selection=selection, table=table)

    assert list(row) == list(source.inspect(table).columns)
    expected = {"tenant_id": str(ACME), "campaign_id": "c1", "asset_id": "a1", "platform": "meta"}
    assert row == {"metric_date": DAY, **dict.fromkeys(table.measure_names, 7)} | {
        name: expected[name] for name in row if name in expected
    }


@pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.source)
def test_columns_in_any_case_are_summed_and_tell_their_partitions(world: World, table: MetricTable) -> None:
    _mixed_case_source(world, table)
    found = world.source.inspect(table)
    assert found.is_partitioned
    assert sums_by_date(world.source, found, DAY, DAY) == {
        (DAY, ""): dict.fromkeys(table.measure_names, Decimal(7))
    }


def test_an_estimate_through_the_storage_api_is_what_the_read_then_costs(world: World) -> None:
    world.load([_row(), _row("c2")])
    table = world.source.inspect(CAMPAIGN_METRICS)

    estimate = world.source.estimate(table, DAY, DAY)

    extraction = world.source.read(table, DAY, DAY)
    assert (estimate.method, estimate.bytes_billed) == (extraction.method, extraction.bytes_read)


@pytest.mark.parametrize(
    ("processed", "billed"), [("0", None), ("1", 10 * 2**20), (str(10 * 2**20 + 1), 11 * 2**20)]
)
def test_an_estimate_of_a_query_is_bigquerys_own_dry_run_in_billed_megabytes(
    world: World, faulty_source: Source, proxy: Proxy, processed: str, billed: int | None
) -> None:
    world.load([_row()])

    def with_bytes(request: Request) -> Answer:
        job = json.loads(proxy.pass_on(request).body or b"")
        job["statistics"]["totalBytesProcessed"] = processed
        job["statistics"]["query"]["totalBytesProcessed"] = processed
        return answer(job)

    proxy.fail("/jobs", with_bytes)

    estimate = faulty_source.estimate(faulty_source.inspect(CAMPAIGN_METRICS), DAY, DAY)

    (asked,) = proxy.seen("POST")
    assert asked.json["configuration"]["dryRun"] is True
    assert (estimate.method, estimate.bytes_billed) == ("query", billed)
