"""`engarde export`: the file has what Postgres has, to the last decimal, whatever the format."""

import csv
import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from pyarrow import parquet

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)
DATES = ("--start", DAY, "--end", DAY + timedelta(days=2))
LARGE = Decimal("12345678901234567890123456789012.123456")
"""More digits than a double has, and as many as a stored amount may have."""


class Stored:
    """Metric rows that are written to Postgres directly: an export does not ask where they are from."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acme, self.other = world.tenant("Acme"), world.tenant("Other")
        self.first = world.campaign(self.acme, "c1")
        self.second = world.campaign(self.acme, "c2", "google")
        self.third = world.campaign(self.other, "c1")
        for space, tenant, platform, day, clicks, spend in (
            (self.first, self.acme, "meta", DAY, 10, LARGE),
            (self.first, self.acme, "meta", DAY + timedelta(days=1), 0, Decimal("0.000001")),
            (self.second, self.acme, "google", DAY, 5, Decimal("2.5")),
            (self.third, self.other, "meta", DAY, 7, Decimal(1)),
        ):
            world.connection.execute(
                "INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, impressions,"
                " clicks, spend, bigquery_sync_id, synced_from_bigquery_at)"
                " VALUES (%s, %s, %s, %s, 100, %s, %s, %s, '2026-03-02 01:02:03.456789+00')",
                [tenant, space, platform, day, clicks, spend, uuid4()],
            )

    def asset(self, external_id: str, clicks: int) -> UUID:
        """Add an asset of the first campaign with one row."""
        asset = self.world.asset(self.first, external_id)
        self.world.connection.execute(
            "INSERT INTO campaign_asset_metrics (tenant_id, campaign_asset_id, platform, metric_date, impressions,"
            " clicks, engagements, bigquery_sync_id, synced_from_bigquery_at)"
            " VALUES (%s, %s, 'meta', %s, 100, %s, 25, %s, now())",
            [self.acme, asset, DAY, clicks, uuid4()],
        )
        return asset


@pytest.fixture
def stored(configured: World) -> Stored:
    return Stored(configured)


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]


def _json(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(), parse_float=Decimal)
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


READERS = {"csv": _csv, "json": _json, "parquet": _parquet}
EVERY_FORMAT = pytest.mark.parametrize("kind", READERS)
Exported = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def exported(engarde: Engarde, tmp_path: Path) -> Exported:
    """`exported("csv", "--tenant", ...)` exports the dates and reads the file."""

    def run(kind: str, *options: object) -> list[dict[str, Any]]:
        path = tmp_path / f"metrics.{kind}"
        said = engarde("export", *DATES, "--format", kind, "--output", path, *options, width=200)
        assert said.code == 0, said.words
        rows = READERS[kind](path)
        assert f"{len(rows):,} rows" in said.words
        assert not list(tmp_path.glob("*unfinished*"))
        return rows

    return run


@EVERY_FORMAT
def test_every_format_has_the_same_exact_rows(exported: Exported, stored: Stored, kind: str) -> None:
    rows = exported(kind)

    spent = {(str(row["campaign_space_id"]), str(row["metric_date"])): Decimal(row["spend"]) for row in rows}
    assert spent == {
        (str(stored.first), "2026-03-01"): LARGE,
        (str(stored.first), "2026-03-02"): Decimal("0.000001"),
        (str(stored.second), "2026-03-01"): Decimal("2.500000"),
        (str(stored.third), "2026-03-01"): Decimal("1.000000"),
    }
    (unclicked,) = [row for row in rows if str(row["metric_date"]) == "2026-03-02"]
    assert unclicked["cpc"] is None  # a ratio without a denominator is NULL
    assert Decimal(unclicked["ctr"]) == 0
    assert unclicked["metric_hour"] is None
    assert (unclicked["campaign_name"], unclicked["external_campaign_id"]) == ("c1", "c1")
    assert str(unclicked["synced_from_bigquery_at"])[:10] == "2026-03-02"


@EVERY_FORMAT
def test_groups_have_sums_and_ratios_of_sums_and_never_add_tenants(
    exported: Exported, stored: Stored, kind: str
) -> None:
    rows = exported(kind, "--group-by", "platform")

    found = {(row["tenant_id"], row["platform"]): row for row in rows}
    assert found.keys() == {
        (str(stored.acme), "meta"),
        (str(stored.acme), "google"),
        (str(stored.other), "meta"),
    }
    meta = found[str(stored.acme), "meta"]
    assert Decimal(meta["spend"]) == Decimal("12345678901234567890123456789012.123457")
    assert int(meta["impressions"]) == 200
    assert float(meta["ctr"]) == 5.0  # 100 * (10 + 0) / (100 + 100)


@EVERY_FORMAT
@pytest.mark.parametrize("group_by", [None, "date", "campaign", "platform"])
def test_currencies_are_never_added(exported: Exported, stored: Stored, kind: str, group_by: str | None) -> None:
    stored.world.connection.execute(
        "UPDATE campaign_metrics SET currency = 'EUR' WHERE campaign_space_id = %s AND metric_date = %s",
        [stored.first, DAY],
    )

    rows = exported(
        kind, "--platform", "meta", "--tenant", stored.acme, *(["--group-by", group_by] if group_by else [])
    )

    assert {row["currency"]: Decimal(row["spend"]) for row in rows} == {"EUR": LARGE, None: Decimal("0.000001")}


@pytest.mark.parametrize(("group_by", "groups"), [("date", 3), ("campaign", 3)])
def test_metrics_are_grouped_by_date_and_campaign(
    exported: Exported, stored: Stored, group_by: str, groups: int
) -> None:
    assert len(exported("csv", "--group-by", group_by)) == groups


def test_filters_limit_the_rows(exported: Exported, stored: Stored) -> None:
    assert {row["tenant_id"] for row in exported("csv", "--tenant", stored.other)} == {str(stored.other)}
    assert {row["platform"] for row in exported("csv", "--platform", "google")} == {"google"}
    assert len(exported("csv", "--platform", "google", "--platform", "meta")) == 4


@pytest.mark.parametrize("group_by", [None, "asset", "campaign", "date"])
def test_the_metrics_of_assets_are_exported_as_well(
    exported: Exported, stored: Stored, group_by: str | None
) -> None:
    asset = stored.asset("a1", 30)

    (row,) = exported("json", "--assets", *(["--group-by", group_by] if group_by else []))

    assert (row["clicks"], row["engagements"], row["engagement_rate"]) == (30, 25, 25)
    if group_by in (None, "asset"):
        assert (row["campaign_asset_id"], row["asset_name"]) == (str(asset), "a1")


@EVERY_FORMAT
def test_no_rows_are_a_valid_file_and_the_message_says_so(
    engarde: Engarde, configured: World, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "nothing"

    said = engarde("export", *DATES, "--format", kind, "--output", path)

    assert said.code == 0
    assert "There are no metrics for this selection" in said.words
    assert READERS[kind](path) == []


def test_names_may_hold_any_character(exported: Exported, stored: Stored) -> None:
    name = 'a "quoted", name\nwith two lines; 日本'
    stored.world.query("UPDATE campaign_spaces SET name = %s RETURNING id", [name])
    for kind in READERS:
        assert {row["campaign_name"] for row in exported(kind)} == {name}


def test_an_empty_name_is_not_null(stored: Stored, exported: Exported) -> None:
    stored.world.query("UPDATE campaign_spaces SET name = '' RETURNING id")
    assert {row["campaign_name"] for row in exported("parquet")} == {""}


def test_a_parquet_file_has_types(exported: Exported, stored: Stored, tmp_path: Path) -> None:
    exported("parquet")
    schema = parquet.read_schema(tmp_path / "metrics.parquet")
    assert schema.field("spend").type == pa.decimal128(38, 6)
    assert schema.field("clicks").type == pa.int64()
    assert schema.field("metric_date").type == pa.date32()
    assert set(CAMPAIGN_METRICS.measure_names) <= set(schema.names)


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (("--tenant", "nobody"), "There is no tenant 'nobody' in Postgres"),
        (("--platform", "myspace"), "No campaign space is on the platform myspace"),
        (("--group-by", "asset"), "needs --assets"),
        (("--output", "nowhere/at/all.csv"), "cannot be written: No such file or directory. Choose another"),
    ],
)
def test_what_cannot_be_exported_is_named(
    engarde: Engarde, stored: Stored, tmp_path: Path, options: tuple[str, ...], cure: str
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("the export of yesterday")

    said = engarde("export", *DATES, "--format", "csv", "--output", path, *options, width=200)

    assert said.code in (1, 2)
    assert cure in said.words
    assert path.read_text() == "the export of yesterday"
    assert not list(tmp_path.glob("*unfinished*"))
