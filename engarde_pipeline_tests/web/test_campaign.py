"""GET /campaigns/{campaign_space_id}: one campaign, its creatives and its dates."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.web.numbers import add_creative_numbers, add_numbers, add_synced_dates, days_from
from engarde_pipeline_tests.web.visitor import Visitor, text_of
from engarde_pipeline_tests.world import World

FIRST = date(2026, 3, 1)
RANGE = {"start_date": "2026-03-03", "end_date": "2026-03-04"}


@pytest.fixture
def tenant(configured: World) -> UUID:
    return configured.tenant()


@pytest.fixture
def campaign(configured: World, tenant: UUID) -> UUID:
    """A campaign with two dates and two before, beside another one."""
    found, other = configured.campaign(tenant, "c1"), configured.campaign(tenant, "c2")
    add_synced_dates(configured, FIRST, FIRST + timedelta(days=3))
    numbers: dict[str, Any] = {"impressions": 1000, "clicks": 10, "conversions": 1, "revenue": 40}
    add_numbers(configured, found, days_from(FIRST, 2), **numbers, spend=5)
    add_numbers(configured, found, days_from(FIRST + timedelta(days=2), 2), **numbers, spend=10)
    add_numbers(configured, other, days_from(FIRST, 4), **numbers, spend=1000)
    return found


def test_it_has_its_name_its_figures_and_its_dates_newest_first(visitor: Visitor, campaign: UUID) -> None:
    html = visitor.html(f"/campaigns/{campaign}", **RANGE)

    assert "c1 2026-03-03 to 2026-03-04 Platform meta External id c1" in html.text
    assert "Spend 20.00 ▲ up 100.0% before: 10.00" in html.text
    assert "ROAS 4.00 ▼ down 50.0% before: 8.00" in html.text
    assert [row[:-1] for row in html.tables["dates"][1:]] == [
        ["2026-03-04", "", "no currency", "10.00", "40.00", "4.00", "1,000", "10", "1.00%", "1"],
        ["2026-03-03", "", "no currency", "10.00", "40.00", "4.00", "1,000", "10", "1.00%", "1"],
    ]
    assert html.tables["chart-none"][0] == ["Date", "Spend", "State"]


def test_a_date_has_the_job_that_changed_it_last(configured: World, visitor: Visitor, campaign: UUID) -> None:
    job = uuid4()
    configured.query(
        "UPDATE campaign_metrics SET bigquery_sync_id = %s"
        " WHERE campaign_space_id = %s AND metric_date = '2026-03-04' RETURNING id",
        [job, campaign],
    )

    html = visitor.html(f"/campaigns/{campaign}", **RANGE)

    assert html.tables["dates"][1][-1] == str(job)[:8]
    assert f'href="/sync/{job}"' in html.source


def test_an_hourly_date_is_summed(configured: World, visitor: Visitor, tenant: UUID) -> None:
    hourly = configured.campaign(tenant, "h1")
    for hour in (1, 2):
        add_numbers(configured, hourly, [FIRST], metric_hour=hour, spend=hour, impressions=100, clicks=hour)

    html = visitor.html(f"/campaigns/{hourly}", start_date=FIRST, end_date=FIRST)

    assert html.tables["dates"][1][3] == "3.00"
    assert "CTR 1.50% no data before" in html.text


def test_its_creatives_have_names_and_sums(configured: World, visitor: Visitor, campaign: UUID) -> None:
    first, second = configured.asset(campaign, "Reel"), configured.asset(campaign, "Carousel")
    days = days_from(date(2026, 3, 3), 2)
    add_creative_numbers(configured, first, days, impressions=100, clicks=1, spend=1, engagements=5)
    add_creative_numbers(configured, second, days[:1], impressions=100, clicks=4, spend=3)

    html = visitor.html(f"/campaigns/{campaign}", **RANGE)

    assert html.tables["creatives"][1:] == [
        ["Carousel", "no currency", "3.00", "100", "4", "4.00%", "0", "0.00%", "0"],
        ["Reel", "no currency", "2.00", "200", "2", "1.00%", "10", "5.00%", "0"],
    ]


def test_without_creatives_it_says_why(visitor: Visitor, campaign: UUID) -> None:
    assert "asset_metrics is optional" in visitor.html(f"/campaigns/{campaign}", **RANGE).text


def test_without_numbers_it_says_so(visitor: Visitor, campaign: UUID) -> None:
    html = visitor.html(f"/campaigns/{campaign}", start_date="2026-02-01", end_date="2026-02-02")

    assert "This campaign has no numbers in this range of dates." in html.text


def test_currencies_are_never_added(configured: World, visitor: Visitor, tenant: UUID) -> None:
    mixed = configured.campaign(tenant, "mixed")
    add_numbers(configured, mixed, [FIRST], "EUR", spend=1)
    add_numbers(configured, mixed, [FIRST + timedelta(days=1)], "USD", spend=10)

    html = visitor.html(f"/campaigns/{mixed}", start_date=FIRST, end_date=FIRST + timedelta(days=1))

    assert "In EUR Spend 1.00 no data before" in html.text
    assert "In USD Spend 10.00 no data before" in html.text


def test_by_default_it_shows_ninety_days(visitor: Visitor, campaign: UUID) -> None:
    text = visitor.html(f"/campaigns/{campaign}").text

    assert f"{today() - timedelta(days=89)} to {latest_date()}" in text


def test_a_campaign_of_another_tenant_is_not_found(configured: World, service: Service, campaign: UUID) -> None:
    other = Visitor(service, configured.tenant("Other"))

    for path in (f"/campaigns/{campaign}", f"/campaigns/{uuid4()}", "/campaigns/c1"):
        response = other.get(path)
        assert response.status_code == 404
        assert "This campaign does not exist, or you may not see it." in text_of(response)
        assert "switch" not in text_of(response)


def test_who_has_several_tenants_is_told_to_look_at_another(
    configured: World, service: Service, tenant: UUID, campaign: UUID
) -> None:
    response = Visitor(service, configured.tenant("Other"), tenant).get(f"/campaigns/{campaign}")

    assert response.status_code == 404
    assert "If this is about another one, switch to it" in text_of(response)


def test_without_a_session_a_person_is_asked_to_log_in(service: Service, campaign: UUID) -> None:
    response = service.client.get(f"/campaigns/{campaign}")

    assert response.status_code == 303
    assert response.headers["location"].startswith("/login?next=")
