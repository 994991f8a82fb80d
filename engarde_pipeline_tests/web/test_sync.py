"""The pages of syncs: preview, start, follow, and look back; all without JavaScript."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from uuid import UUID, uuid4

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from httpx import Response

from engarde_pipeline.runs.tags import USER
from engarde_pipeline.web.routers.sync import JOBS
from engarde_pipeline.web.sync_form import LISTED
from engarde_pipeline_tests.api.conftest import api as api
from engarde_pipeline_tests.api.conftest import daemon as daemon
from engarde_pipeline_tests.api.conftest import dagster_database_url as dagster_database_url
from engarde_pipeline_tests.api.conftest import shared_history as shared_history
from engarde_pipeline_tests.api.conftest import webserver_url as webserver_url
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.dagster_runs import execute, run_range, run_slice
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.test_attention import HOSTILE
from engarde_pipeline_tests.web.visitor import Html, Visitor, text_of

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": str(DAY), "end_date": str(NEXT)}


@pytest.fixture
def visitor(api: Service, shop: Shop) -> Visitor:
    return Visitor(api, shop.tenant)


def _job_of(answer: Response) -> str:
    assert answer.status_code == 303, text_of(answer)
    return answer.headers["location"].removeprefix("/sync/")


def test_a_preview_a_sync_and_the_history(visitor: Visitor, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY, NEXT)
    before = shop.world.everything()

    dry_id = _job_of(visitor.submit(visitor.get("/sync"), "preview", **DATES))
    waiting = visitor.get(f"/sync/{dry_id}")
    assert "Waiting Dates of each table: 0 of 4 done" in text_of(waiting)
    assert '<noscript><meta http-equiv="refresh"' in waiting.text
    execute(instance, dry_id)
    preview = visitor.get(f"/sync/{dry_id}")
    assert "Completed Dates of each table: 4 of 4 done" in text_of(preview)
    assert "What would change" in text_of(preview)
    assert f"{DAY} Campaigns 2 0 0 0 0 0.00 21.00" in text_of(preview)
    assert "http-equiv" not in preview.text
    assert shop.world.everything() == before

    job_id = _job_of(visitor.submit(preview, "start"))
    execute(instance, job_id)
    ended = text_of(visitor.get(f"/sync/{job_id}"))
    assert f"Sync of {DAY} to {NEXT}" in ended
    assert f"{NEXT} Creatives 1 0 0 0 0 0.00 10.50" in ended
    assert "On this page or by the API (u1)" in ended
    assert len(shop.world.rows()) == 4

    history = visitor.read("/sync").split("History")[1]
    assert history.index(f"Sync of {DAY} to {NEXT}") < history.index(f"Dry run of {DAY} to {NEXT}")
    run = instance.get_run_by_id(job_id)
    assert run is not None
    assert run.tags[USER] == "u1"


def test_dates_that_would_be_refused_can_be_allowed_after_the_preview(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY, NEXT)
    run_slice(instance, {"start": str(DAY), "end": str(NEXT), "tenant": str(shop.tenant)})
    shop.world.replace(DAY, [])
    dry_id = _job_of(visitor.submit(visitor.get("/sync"), "preview", **DATES))
    execute(instance, dry_id)

    preview = visitor.get(f"/sync/{dry_id}")

    assert "would be refused" in text_of(preview)
    assert "lose most of their rows" in text_of(preview)
    assert 'name="allow_shrink"' in preview.text
    assert 'name="allow_growth"' not in preview.text
    job_id = _job_of(visitor.submit(preview, "start", allow_shrink="true"))
    execute(instance, job_id)
    assert "Completed" in text_of(visitor.get(f"/sync/{job_id}"))
    assert {row["metric_date"] for row in shop.world.rows()} == {NEXT}


def test_without_the_option_the_sync_fails_and_says_why(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": str(shop.tenant)})
    shop.world.replace(DAY, [])
    job_id = _job_of(visitor.submit(visitor.get("/sync"), "start", start_date=str(DAY), end_date=str(DAY)))
    execute(instance, job_id)

    page = visitor.get(f"/sync/{job_id}")

    assert "BigQuery has 0 records where Postgres has" in text_of(page)
    assert Html(page.text).fields("preview")["start_date"] == [str(DAY)]


def test_a_sync_of_chosen_campaigns_and_a_platform(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    form = visitor.get("/sync", platform="meta", campaign_space_ids=[str(shop.second)], **DATES)
    assert Html(form.text).fields("preview")["campaign_space_ids"] == [str(shop.second)]

    job_id = _job_of(visitor.submit(form, "start", platform="meta"))
    execute(instance, job_id)

    assert {row["campaign_space_id"] for row in shop.world.rows()} == {shop.second}
    assert "Limited to meta, 1 campaign" in text_of(visitor.get(f"/sync/{job_id}"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start_date": "tomorrow"}, "write it as YYYY-MM-DD"),
        ({"start_date": "2026-03-09", "end_date": "2026-03-01"}, "is before the start date"),
        ({"end_date": "2999-01-01"}, "is in the future"),
        ({"start_date": "2001-01-01"}, "is before the first partition"),
        ({"platform": "myspace"}, "no campaign spaces or metrics on &#39;myspace&#39;"),
        ({"campaign_space_ids": ["c1"]}, "valid UUID"),
    ],
)
def test_what_is_invalid_is_shown_beside_its_field_and_what_was_typed_is_kept(
    visitor: Visitor, instance: DagsterInstance, fields: dict[str, str], message: str
) -> None:
    answer = visitor.submit(visitor.get("/sync"), "start", **{**DATES, **fields})

    assert answer.status_code == 422
    assert message in answer.text
    name, typed = list(fields.items())[-1]
    assert f'id="{name}-error"' in answer.text
    if name != "campaign_space_ids":
        assert re.search(rf'value="{typed}"|<option selected>{typed}<', answer.text)
    assert instance.get_runs() == []


def test_a_form_sent_twice_at_once_starts_one_sync(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    form = visitor.get("/sync")
    with ThreadPoolExecutor(4) as clicks:
        answers = list(clicks.map(lambda _: visitor.submit(form, "start", **DATES), range(4)))
    assert len({_job_of(answer) for answer in answers}) == 1
    assert len(instance.get_runs()) == 1
    # Another form is another sync, and there is one already.
    assert visitor.submit(visitor.get("/sync"), "start", **DATES).status_code == 409


def test_a_running_sync_is_named_with_a_link(visitor: Visitor) -> None:
    running = _job_of(visitor.submit(visitor.get("/sync"), "start", **DATES))

    answer = visitor.submit(visitor.get("/sync"), "start", start_date=str(NEXT), end_date=str(NEXT))

    assert answer.status_code == 409
    assert "Nothing was started, because a sync is running" in text_of(answer)
    assert f"/sync/{running}" in Html(answer.text).links
    assert Html(answer.text).fields("start")["start_date"] == [str(NEXT)]


def test_the_form_of_another_site_starts_nothing(
    api: Service, visitor: Visitor, instance: DagsterInstance
) -> None:
    visitor.client.headers["Sec-Fetch-Site"] = "cross-site"
    assert visitor.post("/sync", action="start", **DATES).status_code == 403
    assert instance.get_runs() == []


def test_campaigns_are_found_by_a_part_of_their_name_or_id(visitor: Visitor, shop: Shop) -> None:
    shop.world.connection.execute(
        "INSERT INTO campaign_spaces (tenant_id, name, platform, external_campaign_id)"
        " SELECT %s, 'Summer ' || n, 'google', 'g-' || n FROM generate_series(1, 1000) n",
        [shop.tenant],
    )
    page = visitor.get("/sync")
    assert f"{1002 - LISTED} more are not listed" in text_of(page)

    found = visitor.get("/sync", q="mer 77", action="find", **DATES)
    assert [f"Summer {n}" for n in (77, *range(770, 780))] == sorted(
        set(re.findall(r"Summer \d+", text_of(found))), key=lambda name: int(name.split()[1])
    )
    assert Html(found.text).fields("start")["start_date"] == [str(DAY)]
    assert "g-999" in text_of(visitor.get("/sync", q="G-999"))
    assert "No campaign matches" in text_of(visitor.get("/sync", q="%"))
    assert "Summer" not in text_of(visitor.get("/sync", platform="meta", q=""))


def test_the_history_is_on_pages(visitor: Visitor, instance: DagsterInstance, shop: Shop) -> None:
    shop.load(DAY)
    for _ in range(JOBS + 1):
        run_slice(instance, {"start": str(DAY), "end": str(DAY), "tenant": str(shop.tenant), "dry_run": True})

    first = visitor.get("/sync")
    (older,) = [link for link in Html(first.text).links if "before=" in link]
    second = visitor.get(older)

    assert text_of(first).count("Dry run of") == JOBS
    assert text_of(second).count("Dry run of") == 1
    unknown = visitor.get("/sync", before=str(uuid4()))
    assert text_of(unknown).count("Dry run of") == JOBS
    assert Html(unknown.text).links.count(older) == 1
    assert 'id="newest"' in second.text
    assert 'id="newest"' not in unknown.text


def test_a_cancelled_job_is_not_shown_as_failed(visitor: Visitor, instance: DagsterInstance) -> None:
    job_id = _job_of(visitor.submit(visitor.get("/sync"), "start", **DATES))
    run = instance.get_run_by_id(job_id)
    assert run is not None
    instance.report_run_canceled(run)
    assert instance.get_run_by_id(job_id).status is DagsterRunStatus.CANCELED  # type: ignore[union-attr]

    assert "Cancelled" in visitor.read(f"/sync/{job_id}")
    for path in (f"/sync/{job_id}", "/sync"):
        assert "Failed" not in visitor.read(path)


def test_a_job_of_all_tenants_is_shown_without_its_counts(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    run = run_range(instance, DAY, DAY)

    page = visitor.read(f"/sync/{run.run_id}")

    assert "Its counts are over all of them, and not shown" in page
    assert "2 of 2 done" in page
    assert f"{DAY} Campaigns" in page
    assert "Inserted" not in page
    assert "Counts are over all tenants" in visitor.read("/sync")


def test_a_tenant_sees_nothing_of_the_jobs_and_campaigns_of_another(
    api: Service, visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    other = shop.world.tenant("Other")
    theirs = shop.world.campaign(other, "their campaign", "their platform")
    job_id = _job_of(Visitor(api, other).submit(Visitor(api, other).get("/sync"), "start", **DATES))

    assert visitor.get(f"/sync/{job_id}").status_code == 404
    for page in (
        visitor.get("/sync"),
        visitor.get("/sync", before=job_id),
        visitor.get("/sync", q="their"),
        visitor.get("/sync", campaign_space_ids=theirs),
    ):
        assert page.status_code == 200
        assert "their" not in text_of(page).replace("their rows", "")
        assert job_id not in page.text
    refused = visitor.submit(visitor.get("/sync"), "start", campaign_space_ids=[str(theirs)], **DATES)
    assert refused.status_code == 404
    assert "do not exist" in text_of(refused)
    assert "their campaign" not in refused.text


@pytest.mark.parametrize(
    "job_id",
    [
        *("none", "%00", "../sync", "'; DROP TABLE runs; --", str(UUID(int=0))),
        pytest.param("x" * 3000, id="long"),
    ],
)
def test_a_job_that_does_not_exist_is_a_page_that_says_so(visitor: Visitor, job_id: str) -> None:
    assert visitor.get(f"/sync/{job_id}").status_code in (200 if job_id == "../sync" else 404, 404)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_are_text(api: Service, shop: Shop, instance: DagsterInstance, hostile: str) -> None:
    shop.world.connection.execute(
        "UPDATE campaign_spaces SET name = %(name)s, platform = %(name)s, external_campaign_id = %(name)s"
        " WHERE id = %(id)s",
        {"name": hostile[:100], "id": shop.first},
    )
    visitor = Visitor(api, shop.tenant, user=hostile)
    chosen = visitor.get(
        "/sync", platform=hostile[:100], campaign_space_ids=str(shop.first), q=hostile[:100], **DATES
    )
    job_id = _job_of(visitor.submit(chosen, "preview", platform=hostile[:100]))
    for page in (chosen, visitor.get("/sync"), visitor.get(f"/sync/{job_id}")):
        assert page.status_code == 200
        assert " ".join(hostile[:100].split()) in text_of(page)
        assert "<script>alert" not in page.text
        assert "<img" not in page.text


def test_the_form_is_kept_if_dagster_does_not_take_the_sync(
    visitor: Visitor, instance: DagsterInstance, shop: Shop
) -> None:
    form = visitor.get("/sync")
    instance.wipe_daemon_heartbeats()

    answer = visitor.submit(form, "preview", campaign_space_ids=[str(shop.first)], **DATES)

    assert answer.status_code == 503
    assert "Dagster&#39;s daemon is not running" in answer.text
    assert Html(answer.text).fields("preview")["campaign_space_ids"] == [str(shop.first)]
