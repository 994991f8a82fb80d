"""A sync from a notebook: the code of docs/notebooks.md runs as it stands, and a failure has its result."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus

import engarde_pipeline as engarde
from engarde_pipeline.core.dates import InvalidDates
from engarde_pipeline.defs.slice_sync import InvalidSlice
from engarde_pipeline.notebook import DatesNotSynced, SyncResult
from engarde_pipeline_tests.shop import Shop

PAGE = (Path(__file__).parents[1] / "docs" / "notebooks.md").read_text()
WEEK = [date(2026, 11, day) for day in range(1, 8)]
FIRST, SECOND = WEEK[:2]


def test_the_page_syncs_shows_previews_and_reads(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(*WEEK)
    shop.load_unmapped(FIRST, "<c3>")
    names: dict[str, Any] = {}

    for code in _blocks("## Sync from Python", "## BigQuery in your own assets"):
        exec(code, names)  # noqa: S102  our own page

    result, preview = names["result"], names["preview"]
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is DagsterRunStatus.SUCCESS
    assert (result.counts.inserted, result.counts.rejected) == (21, 1)
    assert result.to_frame().groupby("table")["inserted"].sum().to_dict() == {
        "campaign_metrics": 14,
        "campaign_asset_metrics": 7,
    }
    assert [found.reason_code for found in result.rejected] == ["campaign_not_mapped"]
    assert (preview.is_dry_run, preview.counts.unchanged, preview.counts.changed) == (True, 21, 0)
    assert names["metrics"]["clicks"].sum() == 140
    assert len({row["bigquery_sync_id"] for row in shop.world.rows()} | {run.run_id}) == 2  # as a uuid and a text


def test_dates_that_did_not_land_are_raised_with_what_did(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    engarde.sync(FIRST, SECOND)
    shop.world.replace(SECOND, [])
    shop.load_unmapped(FIRST, "<c3>")

    with pytest.raises(DatesNotSynced, match=f"1 of 2 dates did not land: {SECOND}") as raised:
        engarde.sync(str(FIRST), str(SECOND))

    result: SyncResult = raised.value.result
    failed = [found for found in result.dates if found.failure]
    assert [(found.day, found.table) for found in failed] == [(SECOND, "campaign_metrics")]
    assert "--allow-shrink" in str(failed[0].failure)
    assert f"{result.run_id}: failure" in repr(result)
    html = result._repr_html_()
    assert html.count("<tr") == 1 + len(result.dates)
    assert "campaign_not_mapped" in html
    assert "allow_shrink" in html or "--allow-shrink" in html

    assert engarde.sync(FIRST, SECOND, allow_shrink=True).counts.deleted == 2


def test_a_slice_is_synced_and_what_cannot_be_is_named(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST)
    result = engarde.sync(FIRST, FIRST, tenant=str(shop.tenant), campaigns=["c1"])
    assert [(found.table, found.counts.inserted) for found in result.dates] == [
        ("campaign_asset_metrics", 1),
        ("campaign_metrics", 1),
    ]
    with pytest.raises(InvalidSlice, match="No campaign space is on the platform myspace"):
        engarde.sync(FIRST, FIRST, platforms=["myspace"])
    with pytest.raises(InvalidDates, match="is not a date"):
        engarde.sync("last week")


def _blocks(start: str, end: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.partition(start)[2].partition(end)[0], re.DOTALL)
