"""GET /attention and /attention/rejected: what needs a person, of one tenant."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from dagster import DagsterInstance
from psycopg.types.json import Jsonb

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline.postgres.reads.rejected_groups import EXAMPLES
from engarde_pipeline.web.routers.attention import RECORDS
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.dagster_runs import run_range, run_slice
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.visitor import Html, Visitor, text_of
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=5)


@pytest.fixture
def service(shop: Shop, instance: DagsterInstance) -> Iterator[Service]:
    """The pages alone, without Dagster's webserver."""
    with serving(settings(shop.world.database_url, engarde_first_date=str(today())), instance) as service:
        yield service


@pytest.fixture
def tenant(shop: Shop) -> UUID:
    return shop.tenant


@pytest.fixture
def all_synced(shop: Shop) -> None:
    """Every date of both tables is synced."""
    shop.world.connection.execute(
        "INSERT INTO synced_dates (table_name, metric_date, version, run_id)"
        " SELECT t, current_date - n, '1', gen_random_uuid()"
        " FROM unnest(ARRAY['campaign_metrics', 'campaign_asset_metrics']) t, generate_series(-2, 40) n"
    )


def reject(world: World, tenant: UUID, reason: str, day: date = DAY, number: int = 1, **values: Any) -> None:
    """Add rejected records of a tenant."""
    keys = {"tenant_id": str(tenant), "campaign_id": "c9", "platform": "meta", **values.pop("keys", {})}
    measures = {"impressions": 5, "spend": values.pop("spend", 10.5), "source_rows": 1}
    world.connection.execute(
        "INSERT INTO rejected_metric_rows"
        " (table_name, metric_date, keys, key_digest, measures, currency, reason_code, reason, run_id)"
        " SELECT 'campaign_metrics', %s, %s, sha256(gen_random_uuid()::text::bytea), %s, %s, %s, %s,"
        " gen_random_uuid() FROM generate_series(1, %s)",
        [
            day,
            Jsonb(keys),
            Jsonb(measures),
            values.get("currency"),
            reason,
            values.get("sentence", RejectReason(reason).sentence),
            number,
        ],
    )


def test_nothing_needs_attention(visitor: Visitor, all_synced: None) -> None:
    assert f"Nothing needs attention from {today() - timedelta(days=29)} to" in visitor.read("/attention")


def test_dates_that_should_have_been_synced_are_missing(visitor: Visitor, all_synced: None, shop: Shop) -> None:
    shop.world.connection.execute("DELETE FROM synced_dates WHERE metric_date IN (%s, %s)", [DAY, today()])
    page = visitor.read("/attention")
    assert f"missing Campaigns: {DAY} It should have been synced automatically by now" in page
    assert f"missing Creatives: {DAY} " in page


def test_rejected_records_are_grouped_by_reason(visitor: Visitor, shop: Shop, all_synced: None) -> None:
    earlier = DAY - timedelta(days=1)
    reject(shop.world, shop.tenant, "campaign_not_mapped", DAY, currency="EUR")
    reject(shop.world, shop.tenant, "campaign_not_mapped", earlier, 2, currency="USD", spend=1.25)
    reject(shop.world, shop.tenant, "campaign_not_mapped", earlier)
    reject(shop.world, shop.tenant, "not_a_number", spend="NaN")
    reject(shop.world, shop.tenant, "malformed_currency", currency="eur")

    page = visitor.read("/attention")

    assert (
        f"Campaign not mapped Records 4 records Dates 2 dates, {earlier} to {DAY}"
        " Spend 10.50 no currency, 10.50 EUR, 2.50 USD" in page
    )
    assert f"Not a number Records 1 record Dates {DAY} Spend not known" in page
    assert f"Malformed currency Records 1 record Dates {DAY} Spend 10.50 no valid currency" in page
    assert f"What to do: {RejectReason.CAMPAIGN_NOT_MAPPED.sentence}" in page
    assert f"Campaigns, {DAY}: campaign id c9 platform meta" in page
    assert page.count("campaign id c9") == EXAMPLES + 2
    assert page.index("Campaign not mapped") < page.index("Not a number")


def test_older_records_are_named_and_a_year_shows_them(visitor: Visitor, shop: Shop, all_synced: None) -> None:
    old = today() - timedelta(days=200)
    reject(shop.world, shop.tenant, "negative_measure", old)
    assert "have rejected records, too. Show 365 days" in visitor.read("/attention")
    assert f"Negative measure Records 1 record Dates {old}" in visitor.read("/attention", days=365)


def test_the_records_of_a_reason_are_on_pages(visitor: Visitor, shop: Shop) -> None:
    reject(shop.world, shop.tenant, "null_key", DAY, RECORDS)
    reject(shop.world, shop.tenant, "null_key", DAY - timedelta(days=1), 2, keys={"campaign_id": "last"})
    reject(shop.world, shop.tenant, "out_of_range", DAY, keys={"campaign_id": "of another reason"})
    (link,) = [each for each in Html(visitor.get("/attention").text).links if "null_key" in each]

    first = visitor.get(link)
    (older,) = [each for each in Html(first.text).links if "cursor" in each]
    second = visitor.get(older)

    assert f"{RECORDS + 2} rejected records from" in text_of(first)
    assert f"What to do: {RejectReason.NULL_KEY.sentence}" in text_of(first)
    assert "campaign id last" not in text_of(first)
    assert text_of(second).count("campaign id last") == 2
    assert "impressions 5 spend 10.5" in text_of(second)
    assert "of another reason" not in text_of(first) + text_of(second)
    assert [each for each in Html(second.text).links if "cursor" in each] == []


@pytest.mark.parametrize(
    "query", [{}, {"reason": "none"}, {"reason": "null_key", "cursor": "x"}, {"reason": "null_key", "days": "31"}]
)
def test_a_list_that_does_not_exist_is_refused(visitor: Visitor, query: dict[str, str]) -> None:
    assert visitor.get("/attention/rejected", **query).status_code == 422


def test_a_failed_sync_of_the_tenant_says_why_until_one_lands(
    visitor: Visitor, shop: Shop, instance: DagsterInstance, all_synced: None
) -> None:
    shop.load(DAY)
    dates = {"start": str(DAY), "end": str(DAY), "tenant": str(shop.tenant)}
    assert run_slice(instance, dates).success
    shop.world.replace(DAY, [])
    failed = run_slice(instance, dates)
    assert not failed.success

    page = visitor.get("/attention")

    assert "Failed syncs" in text_of(page)
    assert "BigQuery has 0 records where Postgres has" in text_of(page)
    assert f"/sync/{failed.run_id}" in Html(page.text).links
    assert run_slice(instance, {**dates, "allow_shrink": True}).success
    assert "Nothing needs attention" in visitor.read("/attention")


def test_a_failed_sync_of_all_tenants_keeps_its_reason(
    visitor: Visitor, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(DAY)
    assert run_range(instance, DAY, DAY).success
    shop.world.replace(DAY, [])
    assert not run_range(instance, DAY, DAY).success

    page = visitor.get("/attention")

    assert f"held Campaigns: {DAY} The last load looked wrong: most rows gone" in text_of(page)
    assert "The operators of the pipeline can see the reason" in text_of(page)
    assert "0 records" not in page.text


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202eevil", "x" * 500)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_keys_and_reasons_are_text(visitor: Visitor, shop: Shop, hostile: str) -> None:
    reject(
        shop.world,
        shop.tenant,
        "campaign_not_mapped",
        keys={"campaign_id": hostile, "platform": hostile, hostile: hostile},
        sentence=hostile,
        currency=hostile,
        spend=hostile,
    )
    for page in (visitor.get("/attention"), visitor.get("/attention/rejected", reason="campaign_not_mapped")):
        assert page.status_code == 200
        assert " ".join(hostile.split()) in text_of(page)
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
