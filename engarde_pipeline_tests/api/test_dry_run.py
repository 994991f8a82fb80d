"""POST /sync with dry_run: a job like any other that says what would change, and counts as no sync (rule 16)."""

from datetime import date

from dagster import DagsterInstance

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.runs.requests import without_unfinished_run
from engarde_pipeline.sync.plan import MISSING, PlannedDate
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.api.test_events import listen
from engarde_pipeline_tests.dagster_runs import execute, run_slice
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": str(DAY), "end_date": str(NEXT)}
DRY = {**DATES, "dry_run": True}


def test_a_job_says_what_the_sync_after_it_does(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    before = shop.world.everything()

    answer = api.sync(shop.tenant, DRY)
    assert answer.status_code == 202
    assert answer.json()["message"] == "The dry run of 2026-03-01 to 2026-03-02 is pending."
    dry_id = answer.json()["sync_job"]["id"]
    execute(instance, dry_id)

    dry = api.get(f"/sync-jobs/{dry_id}", shop.tenant).json()["sync_job"]
    assert shop.world.everything() == before
    assert (dry["status"], dry["records_inserted"], dry["metadata"]["dry_run"]) == ("completed", 6, True)
    *progress, _ = listen(api, dry_id, shop.tenant)
    assert [event["data"]["dry_run"] for event in progress] == 4 * [True]
    assert api.get("/sync-status", shop.tenant).json()["last_sync"] is None

    real_id = api.sync(shop.tenant, DATES).json()["sync_job"]["id"]
    execute(instance, real_id)

    real = api.get(f"/sync-jobs/{real_id}", shop.tenant).json()["sync_job"]
    counts = [name for name in real if name.startswith("records_")]
    assert [dry[name] for name in counts] == [real[name] for name in counts]
    assert "dry_run" not in real["metadata"]


def test_a_date_that_would_not_land_is_named(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    run_slice(instance, {"start": str(DAY), "end": str(NEXT), "tenant": str(shop.tenant)})
    shop.world.replace(DAY, [])

    job_id = api.sync(shop.tenant, DRY).json()["sync_job"]["id"]
    execute(instance, job_id)

    job = api.get(f"/sync-jobs/{job_id}", shop.tenant).json()["sync_job"]
    assert job["status"] == "completed"
    assert job["metadata"]["would_not_land"] == {"campaign_metrics": [str(DAY)]}
    told = [event["data"] for event in listen(api, job_id, shop.tenant)]
    assert "allow_shrink" in next(data["would_not_land"] for data in told if "would_not_land" in data)


def test_a_dry_run_holds_back_no_sync(api: Service, instance: DagsterInstance, shop: Shop) -> None:
    dry = api.sync(shop.tenant, {**DRY, "all_tenants": True}, scopes="sync:all").json()["sync_job"]

    again = api.sync(shop.tenant, DRY)
    assert (again.status_code, again.json()["job_id"]) == (409, dry["id"])
    assert again.json()["detail"] == ("A dry run of 2026-03-01 to 2026-03-02 is pending; wait until it has ended.")
    status = api.get("/sync-status", shop.tenant).json()
    assert (status["is_syncing"], status["recent_jobs"][0]["metadata"]) == (
        False,
        {"all_tenants": True, "dry_run": True},
    )
    planned = [PlannedDate(CAMPAIGN_METRICS, DAY, MISSING, "1")]
    assert without_unfinished_run(instance, planned) == planned

    real = api.sync(shop.tenant, DATES)
    assert real.status_code == 202
    assert api.get("/sync-status", shop.tenant).json()["is_syncing"] is True
    assert api.sync(shop.tenant, DRY).status_code == 409


def test_a_key_of_a_dry_run_is_not_that_of_the_sync(api: Service, shop: Shop) -> None:
    key = "k"
    first = api.sync(shop.tenant, DRY, key=key)

    assert api.sync(shop.tenant, DRY, key=key).json()["sync_job"]["id"] == first.json()["sync_job"]["id"]
    assert api.sync(shop.tenant, DATES, key=key).status_code == 422
