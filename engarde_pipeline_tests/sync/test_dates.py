"""Rules 1 and 2: a date is replaced whole and at once, and every record is accounted for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from engarde_pipeline.bigquery.errors import SchemaMismatch, TableMissing
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, by_external_id, counted, measures, row, versions
from engarde_pipeline_tests.sync.waiting import until_a_backend_waits
from engarde_pipeline_tests.world import World

FIRST_RUN, SECOND_RUN = uuid4(), uuid4()


def test_a_new_row_is_inserted_with_its_run(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, impressions=1000, clicks=20, spend=10.5, conversions=4, revenue=42.0)])

    synced = world.sync_one(DAY, run_id=FIRST_RUN)

    assert counted(synced) == {"processed": 1, "inserted": 1, "source_rows": 1}
    (loaded,) = world.rows()
    expected = {
        "tenant_id": tenant,
        "campaign_space_id": campaign,
        "platform": "meta",
        "metric_date": DAY,
        "metric_hour": None,
        "impressions": 1000,
        "clicks": 20,
        "spend": Decimal("10.5"),
        "conversions": Decimal(4),
        "revenue": Decimal(42),
        "bigquery_sync_id": FIRST_RUN,
    }
    assert {name: loaded[name] for name in expected} == expected


def test_several_source_rows_of_a_record_are_summed(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load(
        [
            row(tenant, impressions=1000, clicks=20, spend=0.1, conversions=1, revenue=1.1),
            row(tenant, impressions=500, clicks=30, spend=0.2, conversions=2, revenue=2.2),
            row(tenant, impressions=7, clicks=0, spend=0.0, conversions=0, revenue=0.0),
        ]
    )

    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 1, "inserted": 1, "source_rows": 3}
    (summed,) = measures(world)
    assert summed == {
        "impressions": 1507,
        "clicks": 50,
        "spend": Decimal("0.3"),
        "conversions": 3,
        "revenue": Decimal("3.3"),
    }


def test_only_a_later_date_has_several_source_rows_of_a_record(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=1), *(row(tenant, metric_date=NEXT_DAY, clicks=clicks) for clicks in (2, 3))])

    outcomes = world.sync(DAY, NEXT_DAY)

    assert [counted(outcome) for outcome in outcomes if isinstance(outcome, SyncedDate)] == [
        {"processed": 1, "inserted": 1, "source_rows": 1},
        {"processed": 1, "inserted": 1, "source_rows": 2},
    ]
    assert [(loaded["metric_date"], loaded["clicks"]) for loaded in world.rows()] == [(DAY, 1), (NEXT_DAY, 5)]


def test_each_kind_of_change_is_counted(world: World, tenant: UUID) -> None:
    for name in ("new", "restated", "same", "vanished"):
        world.campaign(tenant, name)
    world.load([row(tenant, name, clicks=1) for name in ("restated", "restated", "same", "vanished")])
    assert counted(world.sync_one(DAY)) == {"processed": 3, "inserted": 3, "source_rows": 4}

    world.replace(
        DAY,
        [
            row(tenant, "new", clicks=1),
            row(tenant, "restated", clicks=3),
            row(tenant, "same", clicks=1),
            row(tenant, "unmapped"),
            row(tenant, "unmapped"),
        ],
    )

    assert counted(world.sync_one(DAY)) == {
        "processed": 4,
        "inserted": 1,
        "updated": 1,
        "unchanged": 1,
        "rejected": 1,
        "deleted": 1,
        "source_rows": 5,
    }
    assert by_external_id(world, "clicks") == {"new": 1, "restated": 3, "same": 1}


def test_a_second_sync_of_the_same_rows_writes_nothing(world: World, tenant: UUID) -> None:
    for name in ("plain", "odd", "zero"):
        world.campaign(tenant, name)
    world.load(
        [
            row(tenant, "plain", impressions=10, clicks=2, spend=1.25, conversions=1, revenue=2.5),
            row(tenant, "odd", impressions=3, clicks=7, spend=0.1 + 0.2, revenue=1 / 3),
            row(tenant, "zero"),
        ]
    )
    world.sync_one(DAY, run_id=FIRST_RUN)
    before = versions(world)

    synced = world.sync_one(DAY, run_id=SECOND_RUN)

    assert counted(synced) == {"processed": 3, "unchanged": 3, "source_rows": 3}
    assert versions(world) == before
    assert {loaded["bigquery_sync_id"] for loaded in world.rows()} == {FIRST_RUN}


def test_only_a_restated_row_gets_the_new_run_and_time(world: World, tenant: UUID) -> None:
    restated, same = world.campaign(tenant, "restated"), world.campaign(tenant, "same")
    world.load([row(tenant, "restated", spend=1.0), row(tenant, "same", spend=1.0)])
    world.sync_one(DAY, run_id=FIRST_RUN)
    before = {loaded["campaign_space_id"]: loaded for loaded in world.rows()}
    version = versions(world)

    world.replace(DAY, [row(tenant, "restated", spend=1.000001), row(tenant, "same", spend=1.0)])
    world.sync_one(DAY, run_id=SECOND_RUN)

    after = {loaded["campaign_space_id"]: loaded for loaded in world.rows()}
    assert after[same] == before[same]
    assert versions(world)[after[same]["id"]] == version[after[same]["id"]]
    assert after[restated]["id"] == before[restated]["id"]
    assert after[restated]["bigquery_sync_id"] == SECOND_RUN
    assert after[restated]["synced_from_bigquery_at"] > before[restated]["synced_from_bigquery_at"]


@pytest.mark.parametrize("measure", ["impressions", "clicks", "spend", "conversions", "revenue"])
def test_a_change_of_any_one_measure_is_seen(world: World, tenant: UUID, campaign: UUID, measure: str) -> None:
    numbers: dict[str, Any] = {"impressions": 10, "clicks": 10, "spend": 10.0, "conversions": 10, "revenue": 10.0}
    world.load([row(tenant, **numbers)])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, **numbers | {measure: 11})])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert measures(world) == [numbers | {measure: 11}]


def test_a_vanished_row_is_deleted(world: World, tenant: UUID, campaign: UUID) -> None:
    other = world.campaign(tenant, "c2")
    world.load([row(tenant, "c1"), row(tenant, "c2")])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, "c2")])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "unchanged": 1, "deleted": 1, "source_rows": 1}
    assert [loaded["campaign_space_id"] for loaded in world.rows()] == [other]


def test_a_source_row_loaded_twice_counts_twice_as_in_bigquery(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=5, spend=0.1)])
    world.sync_one(DAY)

    world.load([row(tenant, clicks=5, spend=0.1)])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 2}
    (doubled,) = measures(world)
    assert (doubled["clicks"], doubled["spend"]) == (10, Decimal("0.2"))


def test_a_row_edited_by_hand_becomes_what_bigquery_has(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    world.query("UPDATE campaign_metrics SET clicks = 6 RETURNING id")

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert measures(world)[0]["clicks"] == 5


def test_a_row_follows_its_campaign_to_another_platform(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant)])
    world.sync_one(DAY)
    world.query("UPDATE campaign_spaces SET platform = 'instagram' RETURNING id")

    world.replace(DAY, [row(tenant, platform="instagram")])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert [loaded["platform"] for loaded in world.rows()] == ["instagram"]


def test_a_reader_sees_the_date_before_or_after_and_never_between(world: World, tenant: UUID) -> None:
    for name in ("new", "restated", "vanished"):
        world.campaign(tenant, name)
    world.load([row(tenant, "restated", clicks=1), row(tenant, "vanished", clicks=1)])
    world.sync_one(DAY)
    before = by_external_id(world, "clicks")
    world.replace(
        DAY, [row(tenant, "restated", clicks=2), row(tenant, "new", clicks=2), row(tenant, "bad", clicks=2)]
    )

    # A lock on the row to be updated stops the merge after its DELETE: the worst moment to look.
    with psycopg.connect(world.database_url) as holder, ThreadPoolExecutor() as threads:
        holder.execute("SELECT FROM campaign_metrics WHERE clicks = 1 FOR UPDATE")
        synced = threads.submit(world.sync_one, DAY)
        until_a_backend_waits(world)
        assert by_external_id(world, "clicks") == before == {"restated": 1, "vanished": 1}
        assert world.rejected() == []
        holder.rollback()
        synced.result(timeout=60)

    assert by_external_id(world, "clicks") == {"restated": 2, "new": 2}
    assert world.reasons() == ["campaign_not_mapped"]


# Hours


def test_hours_and_the_whole_day_are_different_records(world: World, tenant: UUID, campaign: UUID) -> None:
    world.create_source(metric_hour="INT64")
    hours = {None: 5, 0: 7, 1: 11, 23: 13}
    world.load([row(tenant, metric_hour=hour, clicks=clicks) for hour, clicks in hours.items()])

    assert counted(world.sync_one(DAY)) == {"processed": 4, "inserted": 4, "source_rows": 4}
    assert {loaded["metric_hour"]: loaded["clicks"] for loaded in world.rows()} == hours
    assert counted(world.sync_one(DAY)) == {"processed": 4, "unchanged": 4, "source_rows": 4}


@pytest.mark.parametrize("gone", [None, 0, 23])
def test_one_hour_vanishes_without_the_others(
    world: World, tenant: UUID, campaign: UUID, gone: int | None
) -> None:
    world.create_source(metric_hour="INT64")
    world.load([row(tenant, metric_hour=hour) for hour in (None, 0, 23)])
    world.sync_one(DAY)

    left = {None, 0, 23} - {gone}
    world.replace(DAY, [row(tenant, metric_hour=hour) for hour in left])

    assert counted(world.sync_one(DAY)) == {"processed": 2, "unchanged": 2, "deleted": 1, "source_rows": 2}
    assert {loaded["metric_hour"] for loaded in world.rows()} == left


# Whose number it is


def test_two_tenants_with_the_same_campaign_id_keep_their_own_numbers(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    spaces = {world.campaign(acme, "c1"): 1, world.campaign(globex, "c1"): 2}
    world.load([row(acme, clicks=1), row(globex, clicks=2)])

    world.sync_one(DAY)

    assert {loaded["campaign_space_id"]: loaded["clicks"] for loaded in world.rows()} == spaces
    assert {(loaded["tenant_id"], loaded["clicks"]) for loaded in world.rows()} == {(acme, 1), (globex, 2)}


def test_the_same_campaign_id_on_two_platforms_is_two_campaigns(world: World, tenant: UUID) -> None:
    spaces = {world.campaign(tenant, "c1", platform): n for n, platform in enumerate(("meta", "google"))}
    world.load([row(tenant, platform="meta", clicks=0), row(tenant, platform="google", clicks=1)])

    world.sync_one(DAY)

    assert {loaded["campaign_space_id"]: loaded["clicks"] for loaded in world.rows()} == spaces


def test_an_upper_case_tenant_id_is_the_same_tenant(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(str(tenant).upper(), clicks=1), row(str(tenant), clicks=2)])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "inserted": 1, "source_rows": 2}
    assert measures(world)[0]["clicks"] == 3


def test_ids_are_taken_character_by_character(world: World, tenant: UUID) -> None:
    ids = [
        *("", " ", "c1", "C1", "c1 ", " c1", "\tc1", "c1\n", "c1\r\nc1"),
        *("a'b", 'a"b', 'a""b', "a,b", "a;b", "a\\b", "a\\\\b", "\\N", "\\."),
        *("%s", "{0}", "--", "NULL", "null", "nan"),
        *("é", "e\u0301", "日本語", "🤺", "\u200b", "\ufeff", "ß", "ss", "İ", "x" * 10_000, "x" * 9_999),
    ]
    for external_id in ids:
        world.campaign(tenant, external_id)
    expected = {external_id: number for number, external_id in enumerate(ids)}
    world.load([row(tenant, external_id, clicks=number) for external_id, number in expected.items()])

    assert counted(world.sync_one(DAY)) == {"processed": len(ids), "inserted": len(ids), "source_rows": len(ids)}
    assert by_external_id(world, "clicks") == expected
    assert counted(world.sync_one(DAY)) == {"processed": len(ids), "unchanged": len(ids), "source_rows": len(ids)}


# Numbers


FLOATS: dict[tuple[float | None, ...], str] = {
    (0.000001,): "0.000001",
    (98765432.123456,): "98765432.123456",
    (0.1, 0.2): "0.3",
    (0.1,) * 10: "1",
    (1.1, 2.2, -0.0): "3.3",
    (1e15, 0.000001): "1000000000000000.000001",
    (1e22, 1.0): "10000000000000000000001",
    (123456789012345.67,): "123456789012345.67",
    (9.99999999999999e31,): "99999999999999900000000000000000",
    # Rounded once, after the sum, half away from zero.
    (0.0000005,): "0.000001",
    (0.0000025,): "0.000003",
    (0.00000049999,): "0",
    (0.0000004, 0.0000004): "0.000001",
    (0.0000005, 0.0000005): "0.000001",
    (1 / 3, 1 / 3, 1 / 3): "1",
    # NULL counts as 0.
    (None,): "0",
    (None, 1.5, None): "1.5",
}

DECIMALS: dict[tuple[Decimal | None, ...], str] = {
    tuple(part if part is None else Decimal(part) for part in parts): total
    for parts, total in {
        ("0.000001000",): "0.000001",
        ("98765432.123456",): "98765432.123456",
        ("98765432.123456789",): "98765432.123457",
        ("0.1", "0.2"): "0.3",
        ("0.000000500",): "0.000001",
        ("0.000002500",): "0.000003",
        ("0.000000499",): "0",
        ("0.000000400", "0.000000400"): "0.000001",
        ("12345678901234567890123456789.123456789",): "12345678901234567890123456789.123457",
        (None, "1.5"): "1.5",
    }.items()
}


@pytest.fixture(params=["storage_read_api", "query"])
def any_world(request: pytest.FixtureRequest, database_url: str, emulator: Emulator) -> Iterator[World]:
    """A world for each of the two ways to read BigQuery."""
    made = World(database_url, emulator, with_storage_api=request.param == "storage_read_api")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("column_type", "amounts"), [("FLOAT64", FLOATS), ("NUMERIC(38, 9)", DECIMALS)], ids=["float", "numeric"]
)
def test_amounts_are_exact(any_world: World, column_type: str, amounts: dict[tuple[object, ...], str]) -> None:
    world = any_world
    tenant = world.tenant()
    world.create_source(spend=column_type, conversions=column_type, revenue=column_type)
    for parts in amounts:
        world.campaign(tenant, str(parts))
    world.load(
        [
            row(tenant, str(parts), spend=part, conversions=part, revenue=part)
            for parts in amounts
            for part in parts
        ]
    )

    world.sync_one(DAY)

    expected = {str(parts): Decimal(total) for parts, total in amounts.items()}
    assert by_external_id(world, "spend") == expected
    assert by_external_id(world, "conversions") == expected
    assert by_external_id(world, "revenue") == expected
    assert world.sync_one(DAY).merged.counts.unchanged == len(amounts)


def test_counts_are_exact_up_to_the_end_of_int64(any_world: World) -> None:
    world = any_world
    tenant = world.tenant()
    top = 2**63 - 1
    counts: dict[tuple[int | None, ...], int] = {
        (top,): top,
        (top - 1, 1): top,
        (2**53 + 1,): 2**53 + 1,
        (None,): 0,
        (None, 3): 3,
    }
    for parts in counts:
        world.campaign(tenant, str(parts))
    world.load([row(tenant, str(parts), impressions=part, clicks=part) for parts in counts for part in parts])

    world.sync_one(DAY)

    expected = {str(parts): total for parts, total in counts.items()}
    assert by_external_id(world, "impressions") == expected
    assert by_external_id(world, "clicks") == expected


def test_conversions_can_be_fractions(world: World, tenant: UUID, campaign: UUID) -> None:
    world.create_source(conversions="FLOAT64")
    world.load([row(tenant, conversions=0.333333), row(tenant, conversions=0.5)])

    world.sync_one(DAY)

    assert measures(world)[0]["conversions"] == Decimal("0.833333")


def test_a_landed_date_says_how_it_stands(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant, "c1", spend=0.1, revenue=1.5), row(tenant, "c2", spend=0.2), row(tenant, "bad")])

    merged = world.sync_one(DAY).merged

    assert (merged.rows, merged.spend, merged.revenue) == (2, {"": Decimal("0.3")}, {"": Decimal("1.5")})


# Which dates


def test_a_date_without_rows_anywhere_lands_empty(world: World, tenant: UUID, campaign: UUID) -> None:
    world.create_source()

    synced = world.sync_one(DAY)

    assert counted(synced) == {}
    assert world.rows() == []


def test_only_the_dates_asked_for_are_synced(world: World, tenant: UUID, campaign: UUID) -> None:
    days = [DAY + timedelta(days=n) for n in range(5)]
    world.load([row(tenant, metric_date=day) for day in days])

    world.sync(days[1], days[3])

    assert [loaded["metric_date"] for loaded in world.rows()] == [days[1], days[3]]


def test_dates_given_twice_and_unsorted_land_once_and_in_order(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, metric_date=DAY), row(tenant, metric_date=NEXT_DAY)])

    outcomes = world.sync(NEXT_DAY, DAY, NEXT_DAY, DAY)

    assert [outcome.day for outcome in outcomes] == [DAY, NEXT_DAY]
    assert len(world.rows()) == 2


def test_a_long_range_lands_whole(world: World, tenant: UUID, campaign: UUID) -> None:
    days = [DAY + timedelta(days=n) for n in range(64)]
    world.load([row(tenant, metric_date=day, clicks=n) for n, day in enumerate(days)])

    outcomes = world.sync(*days)

    landed = [(outcome.day, counted(outcome)) for outcome in outcomes if isinstance(outcome, SyncedDate)]
    assert landed == [(day, {"processed": 1, "inserted": 1, "source_rows": 1}) for day in days]
    assert [(loaded["metric_date"], loaded["clicks"]) for loaded in world.rows()] == [
        (day, n) for n, day in enumerate(days)
    ]


def test_a_change_on_one_date_leaves_the_others_untouched(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, metric_date=DAY), row(tenant, metric_date=NEXT_DAY)])
    world.sync(DAY, NEXT_DAY, run_id=FIRST_RUN)

    world.replace(DAY, [row(tenant, metric_date=DAY, clicks=1)])
    world.sync(DAY, NEXT_DAY, run_id=SECOND_RUN)

    assert [(loaded["clicks"], loaded["bigquery_sync_id"]) for loaded in world.rows()] == [
        (1, SECOND_RUN),
        (0, FIRST_RUN),
    ]


def test_a_date_the_database_refuses_stops_no_other_and_changes_nothing(world: World, tenant: UUID) -> None:
    for name in ("same", "vanished", "refused"):
        world.campaign(tenant, name)
    world.load([row(tenant, "same"), row(tenant, "vanished")])
    world.sync_one(DAY)
    before = versions(world)
    world.connection.execute("ALTER TABLE campaign_metrics ADD CHECK (clicks <> 13)")
    world.replace(DAY, [row(tenant, "same"), row(tenant, "refused", clicks=13), row(tenant, "unmapped")])
    world.load([row(tenant, "same", metric_date=NEXT_DAY)])

    refused, landed = world.sync(DAY, NEXT_DAY)

    assert isinstance(refused, FailedDate)
    assert "check constraint" in str(refused.error)
    assert isinstance(landed, SyncedDate)
    assert before.items() <= versions(world).items()
    assert [loaded["metric_date"] for loaded in world.rows()] == [DAY, DAY, NEXT_DAY]
    assert world.rejected() == []


# Rule 4: a fault of the whole table stops everything


def test_a_missing_table_stops_the_sync_and_changes_nothing(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant)])
    world.sync_one(DAY)
    before = versions(world)
    world.execute(f"DROP TABLE {world.dataset}.campaign_metrics")

    with pytest.raises(TableMissing, match=rf"{world.dataset}\.campaign_metrics.*BIGQUERY_DATASET_ID"):
        world.sync(DAY, shrink_threshold=None)

    assert versions(world) == before


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"without": ["spend"]}, "column spend is missing; expected FLOAT64"),
        ({"without": ["campaign_id"]}, "column campaign_id is missing; expected STRING"),
        ({"spend": "STRING"}, "column spend has type STRING; expected FLOAT64"),
        ({"metric_hour": "STRING"}, "column metric_hour has type STRING; expected INT64"),
    ],
)
def test_a_wrong_column_stops_the_sync_and_changes_nothing(
    world: World, tenant: UUID, campaign: UUID, columns: dict[str, Any], message: str
) -> None:
    world.load([row(tenant)])
    world.sync_one(DAY)
    before = versions(world)
    world.execute(f"DROP TABLE {world.dataset}.campaign_metrics")
    world.create_source(**columns)

    with pytest.raises(SchemaMismatch, match=message):
        world.sync(DAY, shrink_threshold=None)

    assert versions(world) == before


def test_what_a_landed_date_says_is_exact_however_large(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant, "c1", revenue=9.9e31), row(tenant, "c2", revenue=0.1), row(tenant, "bad")])

    merged = world.sync_one(DAY).merged

    assert merged.revenue == {"": Decimal("99000000000000000000000000000000.1")}
