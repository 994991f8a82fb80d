"""GET /: how the campaigns of a tenant do, in numbers that can be worked out by hand."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.web.numbers import add_numbers, add_synced_dates, days_from, hold_date, rename
from engarde_pipeline_tests.web.visitor import Visitor, text_of
from engarde_pipeline_tests.world import World

FIRST = date(2026, 3, 1)
RANGE = {"start_date": "2026-03-08", "end_date": "2026-03-14"}
WEEK_BEFORE, WEEK = days_from(FIRST, 7), days_from(FIRST + timedelta(days=7), 7)


@pytest.fixture
def tenant(configured: World) -> UUID:
    return configured.tenant()


@pytest.fixture
def two_weeks(configured: World, tenant: UUID) -> dict[str, UUID]:
    """Two campaigns with a week of numbers and the week before."""
    meta, google = configured.campaign(tenant, "m1"), configured.campaign(tenant, "g1", "google")
    add_synced_dates(configured, WEEK_BEFORE[0], WEEK[-1])
    numbers: dict[str, Any] = {"impressions": 1000, "clicks": 10, "spend": 10, "conversions": 1, "revenue": 40}
    add_numbers(configured, meta, WEEK_BEFORE, **numbers)
    add_numbers(configured, meta, WEEK, **{**numbers, "spend": 15})
    add_numbers(configured, google, WEEK, **{**numbers, "impressions": 3000, "spend": 5})
    return {"meta": meta, "google": google}


def test_the_tiles_compare_the_period_with_the_one_before(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    text = visitor.html("/", **RANGE).text

    # 7 x (15 + 5) after 7 x 10; 7 x (40 + 40) after 7 x 40; 560 / 140 after 280 / 70; 140 of 28,000 impressions
    # are clicks, after 70 of 7,000.
    assert "Spend 140.00 ▲ up 100.0% before: 70.00" in text
    assert "Revenue 560.00 ▲ up 100.0% before: 280.00" in text
    assert "ROAS 4.00 unchanged before: 4.00" in text
    assert "CTR 0.50% ▼ down 50.0% before: 1.00%" in text
    assert "Compared with the 7 days before, 2026-03-01 to 2026-03-07." in text


def test_a_week_without_one_before_says_so(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    text = visitor.html("/", start_date="2026-03-01", end_date="2026-03-07").text

    assert "Spend 70.00 no data before" in text


def test_platforms_are_split_by_their_share_of_the_spend(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    rows = visitor.html("/", **RANGE).tables["currency-none-platforms"]

    assert rows[1:] == [
        ["meta", "105.00", "75.0%", "", "280.00", "2.67", "1.00%", "7"],
        ["google", "35.00", "25.0%", "", "280.00", "8.00", "0.33%", "7"],
    ]


def test_the_chart_has_a_table_and_a_sentence(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    html = visitor.html("/", measure="ctr", **RANGE)

    rows = html.tables["chart-none"]
    assert rows[0] == ["Date", "google", "meta", "All", "State"]
    assert rows[1] == ["2026-03-08", "0.33%", "1.00%", "0.50%", ""]
    assert len(rows) == 8
    assert "CTR from 2026-03-08 to 2026-03-14: 0.50%; highest on meta with 1.00%." in html.text


def test_a_platform_is_chosen(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    html = visitor.html("/", platform="google", **RANGE)

    assert "Spend 35.00 no data before" in html.text
    assert html.tables["chart-none"][0] == ["Date", "google", "State"]
    assert [row[0] for row in html.tables["campaigns"][1:]] == ["g1"]
    assert '<option value="meta">' in html.source


def test_currencies_are_never_added(configured: World, visitor: Visitor, tenant: UUID) -> None:
    first, second = configured.campaign(tenant, "c1"), configured.campaign(tenant, "c2")
    add_synced_dates(configured, WEEK_BEFORE[0], WEEK[-1])
    add_numbers(configured, first, WEEK, "EUR", spend=1, revenue=2)
    add_numbers(configured, second, WEEK[:3], "USD", spend=10, revenue=5)
    add_numbers(configured, second, WEEK[3:], None, spend=100)
    add_numbers(configured, second, WEEK_BEFORE, "USD", spend=10)

    html = visitor.html("/", **RANGE)

    assert "In EUR Spend 7.00 no data before Revenue 14.00 no data before ROAS 2.00" in html.text
    assert "In USD Spend 30.00 ▼ down 57.1% before: 70.00 Revenue 15.00 ▲ up from 0 before: 0.00" in html.text
    assert "Without a currency Spend 400.00" in html.text
    assert {"chart-EUR", "chart-USD", "chart-none"} <= html.tables.keys()
    assert [row[:4] for row in html.tables["campaigns"][1:]] == [
        ["c2", "meta", "no currency", "400.00"],
        ["c2", "meta", "USD", "30.00"],
        ["c1", "meta", "EUR", "7.00"],
    ]
    assert "they are not converted" in html.text


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ({}, ["b", "a", "c"]),
        ({"order": "asc"}, ["c", "a", "b"]),
        ({"order_by": "roas"}, ["c", "a", "b"]),
        ({"order_by": "conversions", "order": "asc"}, ["b", "c", "a"]),
        ({"order_by": "name"}, ["a", "b", "c"]),
        ({"order_by": "name", "order": "desc"}, ["c", "b", "a"]),
        ({"order_by": "platform"}, ["c", "a", "b"]),
        ({"order_by": "currency"}, ["a", "c", "b"]),
        ({"limit": "2"}, ["b", "a"]),
        ({"order_by": "name", "limit": "2"}, ["a", "b"]),
    ],
)
def test_campaigns_are_ordered_by_each_column(
    configured: World, visitor: Visitor, tenant: UUID, order: dict[str, str], names: list[str]
) -> None:
    platforms = {"a": "meta", "b": "tiktok", "c": "google"}
    ids = {name: configured.campaign(tenant, name, platform) for name, platform in platforms.items()}
    add_numbers(configured, ids["a"], WEEK, "EUR", spend=20, revenue=40, conversions=3)
    add_numbers(configured, ids["b"], WEEK, None, spend=30, revenue=30, conversions=1)
    add_numbers(configured, ids["c"], WEEK, "USD", spend=10, revenue=90, conversions=2)

    html = visitor.html("/", **order, **RANGE)

    assert [row[0] for row in html.tables["campaigns"][1:]] == names


def test_the_column_that_orders_says_so_and_links_to_the_other_direction(
    visitor: Visitor, two_weeks: dict[str, UUID]
) -> None:
    source = visitor.html("/", order_by="roas", **RANGE).source

    assert source.count("aria-sort") == 1
    link = "start_date=2026-03-08&amp;end_date=2026-03-14&amp;order_by=roas&amp;order=asc"
    assert f'aria-sort="descending"><a id="by-roas" href="/?{link}">' in source


def test_a_campaign_links_to_its_page_with_the_same_dates(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    source = visitor.html("/", **RANGE).source

    assert f'href="/campaigns/{two_weeks["meta"]}?start_date=2026-03-08&amp;end_date=2026-03-14"' in source
    # Also without dates, whatever the default of the other page is.
    there = f"/campaigns/{two_weeks['meta']}"
    assert f'href="{there}?days=365"' in visitor.html("/", days=365).source
    assert 'href="/?days=365"' in visitor.html(there, days=365).source
    assert 'href="/?days=90"' in visitor.html(there).source


def test_a_change_is_shown_at_once_although_campaigns_are_cached(
    configured: World, visitor: Visitor, two_weeks: dict[str, UUID]
) -> None:
    before = visitor.html("/", **RANGE)
    configured.query("UPDATE campaign_metrics SET spend = spend + 1 WHERE platform = 'meta' RETURNING id")
    rename(configured, two_weeks["google"], "Renamed")

    after = visitor.html("/", **RANGE)

    assert "Spend 140.00" in before.text
    assert "Spend 147.00" in after.text
    assert [row[:4] for row in after.tables["campaigns"][1:]] == [
        ["m1", "meta", "no currency", "112.00"],
        ["Renamed", "google", "no currency", "35.00"],
    ]


def test_a_tenant_sees_nothing_of_another(configured: World, service: Service, two_weeks: dict[str, UUID]) -> None:
    other = configured.tenant("Other")
    add_numbers(configured, configured.campaign(other, "other's"), WEEK, spend=1000)

    html = Visitor(service, other).html("/", **RANGE)

    assert "Spend 7,000.00" in html.text
    assert "m1" not in html.source


def test_what_is_missing_provisional_and_rejected_is_said(
    configured: World, visitor: Visitor, tenant: UUID
) -> None:
    campaign = configured.campaign(tenant, "c1")
    yesterday = today() - timedelta(days=1)
    add_synced_dates(configured, today() - timedelta(days=5), today())
    add_numbers(configured, campaign, [yesterday, today()], spend=5)
    configured.query(
        "INSERT INTO rejected_metric_rows"
        " (table_name, metric_date, keys, key_digest, measures, reason_code, reason, run_id)"
        " SELECT 'campaign_metrics', %s, jsonb_build_object('tenant_id', %s::text, 'platform', 'meta'), '',"
        " '{\"spend\": 12.5}', 'campaign_not_mapped', '', gen_random_uuid() RETURNING id",
        [yesterday, str(tenant)],
    )

    html = visitor.html("/", days=7)

    assert "1 date in this range has never been synced" in html.text
    assert "1 record could not be loaded and is not in these numbers." in html.text
    assert "is not over, so its numbers are partial" in html.text
    states = {row[0]: row[-1] for row in html.tables["chart-none"][1:]}
    assert states[str(today() - timedelta(days=6))] == "missing"
    assert states[str(today() - timedelta(days=3))] == "provisional"
    assert states[str(today())] == "partial day"


def test_a_held_date_is_said_on_the_pages_that_show_its_numbers(
    configured: World, visitor: Visitor, two_weeks: dict[str, UUID]
) -> None:
    pages = ("/", f"/campaigns/{two_weeks['meta']}")
    assert not any("held" in visitor.html(page, **RANGE).text for page in pages)

    hold_date(configured, WEEK[2])
    hold_date(configured, WEEK_BEFORE[0])

    said = "1 date is held, because its last load looked wrong, and shows the numbers of an earlier sync:"
    assert all(f"{said} {WEEK[2]}." in visitor.html(page, **RANGE).text for page in pages)


def test_a_date_that_was_not_over_when_it_was_compared_is_partial_whenever_it_is_looked_at(
    configured: World, visitor: Visitor, tenant: UUID
) -> None:
    campaign = configured.campaign(tenant, "c1")
    cut, whole = today() - timedelta(days=4), today() - timedelta(days=3)
    add_synced_dates(configured, cut, whole)
    add_numbers(configured, campaign, [cut, whole], spend=5)
    configured.query(
        "UPDATE synced_dates SET synced_at = (metric_date + 1)::timestamp AT TIME ZONE 'UTC' + interval '11 h'"
        " WHERE metric_date = %s RETURNING metric_date",
        [cut],
    )

    overview, page = visitor.html("/", days=7), visitor.html(f"/campaigns/{campaign}")

    for rows in (overview.tables["chart-none"][1:], page.tables["chart-none"][1:]):
        states = {row[0]: row[-1] for row in rows}
        assert (states[str(cut)], states[str(whole)]) == ("partial day", "provisional")


def test_what_there_is_not_is_said(configured: World, service: Service, tenant: UUID) -> None:
    visitor = Visitor(service, tenant)
    assert "There are no campaigns yet." in visitor.html("/").text

    campaign = configured.campaign(tenant, "c1")
    assert "No date has been synced yet." in visitor.html("/").text
    assert "None of these dates has ever been synced." in visitor.html("/").text

    add_synced_dates(configured, FIRST, FIRST)
    add_numbers(configured, campaign, [FIRST], spend=1)
    html = visitor.html("/", **RANGE)
    assert "There are no numbers in this range of dates." in html.text
    assert "before: 1.00" not in html.text  # nobody knows yet whether it is less than before

    add_synced_dates(configured, WEEK[0], WEEK[-1])
    html = visitor.html("/", **RANGE)
    assert "There are no numbers in this range of dates." in html.text
    assert "Spend 0.00 not comparable before: 1.00" in html.text
    assert "6 of the 7 days before" in html.text

    add_synced_dates(configured, WEEK_BEFORE[1], WEEK_BEFORE[-1])
    assert "Spend 0.00 ▼ down 100.0% before: 1.00" in visitor.html("/", **RANGE).text
    assert "no numbers in this range" not in visitor.html("/", start_date=FIRST, end_date=FIRST).text

    configured.connection.execute("DELETE FROM synced_dates WHERE metric_date = %s", [WEEK[2]])
    text = visitor.html("/", **RANGE).text
    assert "Spend 0.00 not comparable before: 1.00" in text
    assert "1 date of this range has never been synced." in text


@pytest.mark.parametrize(
    "dates",
    [
        {"end_date": "0001-01-01"},
        {"end_date": "9999-12-31"},
        {"start_date": "9999-12-31", "end_date": "9999-12-31"},
    ],
)
def test_the_ends_of_the_calendar_are_dates_too(
    visitor: Visitor, two_weeks: dict[str, UUID], dates: dict[str, str]
) -> None:
    assert visitor.get("/", **dates).status_code == 200


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"start_date": "1 March"}, "start_date"),
        ({"measure": "tenant_id"}, "measure"),
        ({"platform": "nowhere"}, "platform"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field(
    visitor: Visitor, two_weeks: dict[str, UUID], params: dict[str, str], field: str
) -> None:
    response = visitor.get("/", **params)

    assert response.status_code == 422
    assert f"{field}: " in text_of(response)


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        ("2026-03-02", "2026-03-01", "The first date, 2026-03-02, is after the last one, 2026-03-01."),
        ("2020-01-01", "2026-01-01", "2020-01-01 to 2026-01-01 are 2,193 dates. A page shows at most 1,100."),
    ],
)
def test_a_range_that_cannot_be_shown_is_refused_in_words(
    visitor: Visitor, start: str, end: str, sentence: str
) -> None:
    response = visitor.get("/", start_date=start, end_date=end)

    assert response.status_code == 422
    assert sentence in text_of(response)


def test_blank_fields_of_a_form_are_not_given(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    assert visitor.get("/", start_date="", end_date="", platform="", order="").status_code == 200


def test_the_live_part_says_which_dates_it_shows(visitor: Visitor, two_weeks: dict[str, UUID]) -> None:
    start, end = today() - timedelta(days=6), today() - timedelta(days=1)

    assert (
        f'data-live-start="{start}" data-live-end="{end}"'
        in visitor.html("/", start_date=start, end_date=end).source
    )
    # Tomorrow belongs to what goes on to today.
    latest = visitor.html("/", start_date=start, end_date=today()).source
    assert f'data-live-start="{start}"' in latest
    assert "data-live-end" not in latest
