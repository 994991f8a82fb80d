"""slice_sync replaces a part of some dates, tells the assets' timelines, and marks no date (rule 8)."""

import re
from datetime import date

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, EventLogRecord

from engarde_pipeline.defs.slice_sync import InvalidSlice, slice_sync_job
from engarde_pipeline.runs.job_log import list_jobs
from engarde_pipeline_tests.dagster_runs import failure_of, landed_dates, observed, run_range, run_slice
from engarde_pipeline_tests.shop import Shop

DAY, OTHER = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start": str(DAY), "end": str(OTHER)}


def _observations(instance: DagsterInstance, asset: str) -> list[EventLogRecord]:
    found = instance.fetch_observations(AssetRecordsFilter(AssetKey(asset)), limit=100).records
    return sorted(found, key=lambda record: record.partition_key or "")


def test_only_the_slice_is_replaced(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    run_range(instance, DAY, OTHER)
    shop.world.execute(f"UPDATE {shop.world.dataset}.campaign_metrics SET clicks = 77 WHERE true")

    assert run_slice(instance, {**DATES, "campaigns": ["c2"]}).success

    clicks = {row["campaign_space_id"]: row["clicks"] for row in shop.world.rows()}
    assert clicks == {shop.first: 10, shop.second: 77}


def test_the_assets_timelines_show_it_and_no_date_is_marked(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)

    run_slice(instance, {**DATES, "tenant": str(shop.tenant), "platforms": ["meta"]})

    observed = _observations(instance, "campaign_metrics")
    assert [record.partition_key for record in observed] == [str(DAY), str(OTHER)]
    assert observed[0].asset_observation is not None
    metadata = {name: value.value for name, value in observed[0].asset_observation.metadata.items()}
    slice_of_date = f"tenant {shop.tenant}, platform meta"
    assert metadata["slice"] == slice_of_date
    assert (metadata["slice_records_inserted"], metadata["slice_spend"]) == (2, 21.0)
    # Dagster shows an entry of an observation in place of that of the materialization with the same name.
    assert {name for name in metadata if not name.startswith("slice")} == set()
    assert (observed[0].asset_observation.description or "").startswith(
        f"A slice of the date ({slice_of_date}): 2 inserted"
    )
    assert len(_observations(instance, "campaign_asset_metrics")) == 2
    assert landed_dates(instance, "campaign_metrics") == []
    assert landed_dates(instance, "campaign_asset_metrics") == []


def test_the_totals_follow(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, OTHER)

    run_slice(instance, {**DATES, "tenant": str(shop.tenant)})

    (spend,) = shop.world.query("SELECT DISTINCT total_spend FROM campaign_spaces")
    assert float(spend["total_spend"]) == 21.0


def test_a_slice_may_shrink_only_when_the_caller_says_so(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    run_range(instance, DAY, DAY)
    shop.world.execute(f"DELETE FROM {shop.world.dataset}.campaign_metrics WHERE campaign_id = 'c2'")
    wanted = {"start": str(DAY), "end": str(DAY), "campaigns": ["c2"]}

    refused = run_slice(instance, wanted)
    assert not refused.success
    assert "allow_shrink" in failure_of(instance, refused)
    assert len(shop.world.rows()) == 2
    on_its_page = observed(instance, refused.run_id)[str(DAY)]
    assert (on_its_page["slice_held"], on_its_page["slice"]) == ("would_shrink", "campaign c2")
    assert "allow_shrink" in on_its_page["slice_did_not_land"]

    allowed = run_slice(instance, {**wanted, "allow_shrink": True})
    assert allowed.success
    assert observed(instance, allowed.run_id)[str(DAY)]["slice_allowed"] == "allow_shrink"
    assert [row["campaign_space_id"] for row in shop.world.rows()] == [shop.first]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DATES, "Give a tenant, platforms or campaigns"),
        (
            {**DATES, "platforms": ["friendster"]},
            "No campaign space is on the platform friendster. There are: meta",
        ),
        ({**DATES, "tenant": "Nobody"}, "There is no tenant 'Nobody' in Postgres; use the name or the uuid"),
        ({**DATES, "campaigns": ["c9"]}, "has the id c9"),
        ({**DATES, "start": "1 March", "platforms": ["meta"]}, "'1 March' is not a date; write it as YYYY-MM-DD"),
        ({**DATES, "end": "2026-02-01", "platforms": ["meta"]}, "is before the start date"),
        ({**DATES, "end": "2999-01-01", "platforms": ["meta"]}, "2999-01-01"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_with_the_cure_before_a_run_exists(
    instance: DagsterInstance, shop: Shop, config: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSlice, match=re.escape(message)):
        run_slice(instance, config)

    assert instance.get_runs() == []


def test_a_tenant_is_taken_by_name_and_the_run_is_its_job(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    other = shop.world.tenant("Globex")

    run = run_slice(instance, {**DATES, "tenant": "acme"})

    assert run.success
    assert len(shop.world.rows()) == 2
    assert [job.id for job in list_jobs(instance, 5, str(shop.tenant))] == [run.run_id]
    assert list_jobs(instance, 5, str(other)) == []


def test_the_launchpad_lists_the_tenants_and_platforms_of_postgres(shop: Shop) -> None:
    shop.world.tenant("Globex")
    shop.world.campaign(shop.tenant, "c9", platform="google")

    schema = slice_sync_job().get_job_snapshot().config_schema_snapshot

    described = {
        field.name: field.description or ""
        for config_type in schema.all_config_snaps_by_key.values()
        for field in config_type.fields or ()
    }
    assert described["tenant"].endswith("there were: Acme, Globex.")
    assert described["platforms"].endswith("there were: google, meta.")


def test_without_postgres_a_slice_is_launched_and_its_run_says_what_is_wrong(
    instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")

    run = run_slice(instance, {**DATES, "tenant": "Acme"})

    assert not run.success
    assert "Cannot connect to Postgres" in failure_of(instance, run)
