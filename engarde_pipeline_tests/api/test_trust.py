"""What a response says about its numbers is what Postgres has at that moment, for this tenant and these dates."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from dagster import DagsterInstance
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.core.restatement import DEFAULT, parse_restatement_days
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery, by_date, fingerprint, groups
from engarde_pipeline.postgres.reads.trust import Calendar, with_trust
from engarde_pipeline.settings import load_api_settings
from engarde_pipeline_tests.api.service import SECRET, Service, serving, settings
from engarde_pipeline_tests.conftest import FIRST_DATE
from engarde_pipeline_tests.shop import NUMBERS, Shop

DAYS = [date(2026, 3, day) for day in range(1, 8)]
SYNCED = [*DAYS[:3], DAYS[5]]
RANGE = {"start_date": str(DAYS[0]), "end_date": str(DAYS[-1])}
TRUST = ("synced_at", "missing_dates", "provisional_from", "rejected_records", "rejected_spend")


def sync(shop: Shop, *days: date, table: MetricTable = CAMPAIGN_METRICS) -> None:
    shop.world.sync(*days, table=table, versions=dict.fromkeys(days, "v"))


def trust(api: Service, tenant: UUID, path: str = "/metrics", **params: Any) -> dict[str, Any]:
    answer = api.get(path, tenant, **{**RANGE, **params})
    assert answer.status_code == 200, answer.text
    return {name: answer.json()[name] for name in TRUST}


def endpoints(shop: Shop) -> dict[str, MetricTable]:
    return {
        "/metrics": CAMPAIGN_METRICS,
        f"/metrics/{shop.first}": CAMPAIGN_METRICS,
        "/assets/metrics": ASSET_METRICS,
        f"/assets/{shop.asset}/metrics": ASSET_METRICS,
    }


@pytest.fixture
def synced(shop: Shop) -> Shop:
    """Four of seven dates are synced, each at another moment; assets one date less."""
    shop.load(*SYNCED)
    sync(shop, *SYNCED)
    sync(shop, *SYNCED[1:], table=ASSET_METRICS)
    shop.world.connection.execute("UPDATE synced_dates SET synced_at = metric_date + 3, compared_at = NULL")
    shop.world.connection.execute(
        "UPDATE synced_dates"
        " SET compared_at = timestamptz '2026-08-01' - (metric_date - date '2026-01-01') * interval '1h'"
        " WHERE table_name = 'campaign_metrics'"
    )
    return shop


# Dates


def test_it_is_as_current_as_the_date_that_was_compared_first(api: Service, synced: Shop) -> None:
    for path, table in endpoints(synced).items():
        for start, end in ((DAYS[0], DAYS[-1]), (DAYS[1], DAYS[1]), (DAYS[3], DAYS[4]), (DAYS[5], DAYS[6])):
            rows = synced.world.query(
                "SELECT metric_date, coalesce(compared_at, synced_at) AS moment FROM synced_dates"
                " WHERE table_name = %s AND metric_date BETWEEN %s AND %s",
                [table.target, start, end],
            )
            said = trust(api, synced.tenant, path, start_date=str(start), end_date=str(end))

            oldest = min((row["moment"] for row in rows), default=None)
            assert (said["synced_at"] and datetime.fromisoformat(said["synced_at"])) == oldest
            all_days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
            noted = {row["metric_date"] for row in rows}
            assert said["missing_dates"] == [str(day) for day in all_days if day not in noted]
            assert said["provisional_from"] is None


def test_a_sync_that_changes_nothing_still_says_when_it_compared(api: Service, synced: Shop) -> None:
    before = datetime.now(UTC)
    sync(synced, *SYNCED)

    assert datetime.fromisoformat(trust(api, synced.tenant)["synced_at"]) >= before


def test_only_dates_that_can_be_synced_and_have_begun_are_missing(api: Service, synced: Shop) -> None:
    first = date.fromisoformat(FIRST_DATE)

    said = trust(api, synced.tenant, start_date="2010-01-01", end_date="2040-12-31", group_by="campaign")
    ahead = trust(
        api, synced.tenant, start_date=str(today() + timedelta(days=1)), end_date=str(today() + timedelta(days=9))
    )
    before = trust(api, synced.tenant, start_date="2010-01-01", end_date=str(first - timedelta(days=1)))

    possible = [first + timedelta(days=n) for n in range((today() - first).days + 1)]
    assert said["missing_dates"] == [str(day) for day in possible if day not in SYNCED]
    assert ahead["missing_dates"] == before["missing_dates"] == []
    assert (before["synced_at"], before["provisional_from"]) == (None, None)


def test_it_is_provisional_as_long_as_its_platforms_restate(
    api: Service, shop: Shop, instance: DagsterInstance
) -> None:
    google = shop.world.campaign(shop.tenant, "g1", "google")
    asset = shop.world.asset(google, "a2")
    days = today() - timedelta(days=28), today()
    shop.load(*days)
    sync(shop, *days)
    wide = {"start_date": str(today() - timedelta(days=60)), "end_date": str(today())}

    def since(service: Service, path: str = "/metrics", **params: str) -> int | None:
        """Return of how many dates, today included, the numbers are provisional."""
        first = trust(service, shop.tenant, path, **{**wide, **params})["provisional_from"]
        return first and (today() - date.fromisoformat(first)).days + 1

    assert since(api) == since(api, group_by="campaign") == since(api, f"/metrics/{shop.first}") == 28
    assert since(api, platform="google") == since(api, campaign_space_ids=f"{shop.first},{google}") == 30
    assert since(api, f"/assets/{asset}/metrics") == 30
    assert since(api, "/assets/metrics", campaign_asset_ids=str(shop.asset)) == 28
    assert since(api, start_date=str(today() - timedelta(days=3))) == 4
    assert since(api, end_date=str(today() - timedelta(days=28))) is None
    row = {"tenant_id": str(shop.tenant), "platform": "google", "campaign_id": "g1", "metric_date": today()}
    shop.world.load([{**row, **NUMBERS}])
    sync(shop, today())
    assert since(api) == 30
    shorter = settings(shop.world.database_url, engarde_restatement_days="meta=3,google=2,tiktok=1,*=9")
    with serving(shorter, instance) as other:
        assert since(other) == 3
        assert since(other, platform="google") == 2
        # Nothing is known about the platforms of numbers that are not there.
        assert since(other, end_date=str(today() - timedelta(days=4))) == 9


# Rejected records


def test_open_rejected_records_of_this_tenant_are_counted_with_their_spend(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")
    for tenant, campaign in ((None, "c3"), (None, "c4"), (str(other), "c1"), ("no uuid", "c1")):
        synced.load_unmapped(DAYS[1], campaign, tenant)
    negative = {"tenant_id": str(synced.tenant), "platform": "meta", "campaign_id": "c1", "metric_date": DAYS[2]}
    synced.world.replace(DAYS[2], [{**negative, **NUMBERS, "clicks": -1, "spend": 0.1}])
    creative = {"platform": "meta", "campaign_id": "c1", "asset_id": "a9", "metric_date": DAYS[1]}
    synced.world.load([{**creative, **NUMBERS, "spend": 3.25}], ASSET_METRICS)
    sync(synced, *SYNCED)
    sync(synced, *SYNCED, table=ASSET_METRICS)

    def rejected(path: str = "/metrics", tenant: UUID = synced.tenant, **params: str) -> tuple[int, float]:
        said = trust(api, tenant, path, **params)
        return said["rejected_records"], said["rejected_spend"]

    rows = [row for row in synced.world.rejected() if row["tenant_id"] == synced.tenant]
    spend = sum(Decimal(str(row["measures"]["spend"])) for row in rows if row["table_name"] == "campaign_metrics")
    assert rejected() == rejected(group_by="campaign") == (3, float(spend)) == (3, 21.1)
    assert rejected(platform="meta") == (3, 21.1)
    assert rejected(start_date=str(DAYS[2])) == (1, 0.1)
    assert rejected(f"/metrics/{synced.first}") == (1, 0.1)
    assert rejected(f"/metrics/{synced.second}") == (0, 0)
    assert rejected(campaign_space_ids=f"{synced.first},{synced.second}") == (1, 0.1)
    assert rejected("/assets/metrics") == (1, 3.25)
    assert rejected("/assets/metrics", campaign_space_ids=str(synced.first)) == (1, 3.25)
    assert rejected(f"/assets/{synced.asset}/metrics") == (0, 0)
    added = synced.world.asset(synced.first, "a9")
    assert rejected(f"/assets/{added}/metrics") == (1, 3.25)
    assert rejected(tenant=other) == (1, 10.5)

    synced.world.campaign(synced.tenant, "c3")
    synced.world.campaign(synced.tenant, "c4")
    sync(synced, *SYNCED)
    assert rejected() == rejected(group_by="campaign") == (1, 0.1)


def test_the_spend_of_several_currencies_is_not_added(api: Service, shop: Shop) -> None:
    for campaign in ("c3", "c4", "c5"):
        shop.load_unmapped(DAYS[0], campaign)
    sync(shop, DAYS[0])

    def spend(**currencies: str | None) -> float | None:
        for campaign, currency in currencies.items():
            shop.world.connection.execute(
                "UPDATE rejected_metric_rows SET currency = %s WHERE keys ->> 'campaign_id' = %s",
                [currency, campaign],
            )
        found: float | None = trust(api, shop.tenant)["rejected_spend"]
        return found

    def measure(campaign: str, value: str) -> None:
        shop.world.connection.execute(
            "UPDATE rejected_metric_rows SET measures = jsonb_set(measures, '{spend}', %s::jsonb)"
            " WHERE keys ->> 'campaign_id' = %s",
            [value, campaign],
        )

    assert spend() == 31.5
    assert spend(c3="EUR", c4="EUR", c5="EUR") == 31.5
    assert spend(c5="USD") is None
    assert spend(c5=None) is None
    assert spend(c5="") is None
    measure("c5", '"NaN"')
    assert spend() == 21.0
    measure("c5", '"-Infinity"')
    assert spend(c5="EUR") == 21.0
    measure("c5", "null")
    assert spend(c5=None) is None
    assert trust(api, shop.tenant)["rejected_records"] == 3


# Snapshots


def test_numbers_and_what_is_said_about_them_are_of_the_same_moment(api: Service, shop: Shop) -> None:
    """Each sync brings as much spend as it rejects records, and is noted in the same transaction."""
    day = DAYS[0]
    keys = {"tenant_id": str(shop.tenant), "platform": "meta", "metric_date": day}

    def bring(number: int) -> None:
        rejected = [{**keys, "campaign_id": f"x{n}"} for n in range(number)]
        shop.world.replace(day, [{**keys, "campaign_id": "c1", "spend": float(number)}, *rejected])
        shop.world.sync(day, versions={day: f"v{number}"}, growth_threshold=None, shrink_threshold=None)

    shop.world.create_source()
    bring(1)
    done = threading.Event()
    seen: list[tuple[str, float, int, str]] = []

    def read(path: str, params: Mapping[str, str]) -> None:
        headers = api.headers(shop.tenant)
        while not done.is_set():
            answer = api.client.get(PREFIX + path, params={**RANGE, **params}, headers=headers).json()
            (group,) = answer["metrics"]
            seen.append((path, group["spend"], answer["rejected_records"], answer["synced_at"]))

    readers = [
        threading.Thread(target=read, args=asked)
        for asked in (("/metrics", {}), ("/metrics", {"group_by": "campaign"}), (f"/metrics/{shop.first}", {}))
    ]
    for reader in readers:
        reader.start()
    try:
        for number in range(2, 8):
            bring(number)
    finally:
        done.set()
        for reader in readers:
            reader.join()

    together = [(spend, rejected) for path, spend, rejected, _ in seen if path == "/metrics"]
    assert {spend - rejected for spend, rejected in together} == {0}
    assert len({spend for spend, _ in together}) > 2
    # One moment belongs to each sync's numbers, whatever was asked.
    assert len({(spend, moment) for _, spend, _, moment in seen}) == len({spend for _, spend, *_ in seen})


def test_a_sync_that_is_not_committed_is_not_seen(api: Service, synced: Shop) -> None:
    before = {path: api.get(path, synced.tenant, **RANGE).json() for path in endpoints(synced)}
    connection = synced.world.connection
    with connection.transaction():
        connection.execute("UPDATE campaign_metrics SET clicks = 7")
        connection.execute("UPDATE campaign_asset_metrics SET clicks = 7")
        connection.execute("DELETE FROM synced_dates")
        assert {path: api.get(path, synced.tenant, **RANGE).json() for path in endpoints(synced)} == before

    after = trust(api, synced.tenant, group_by="campaign")
    assert (after["synced_at"], len(after["missing_dates"])) == (None, len(DAYS))


def test_beside_cached_numbers_it_is_as_new(api: Service, synced: Shop) -> None:
    before = trust(api, synced.tenant, group_by="campaign")
    # Behind the back of what notes a change: groups that are read again would have these clicks.
    synced.world.connection.execute("ALTER TABLE campaign_metrics DISABLE TRIGGER USER")
    synced.world.connection.execute("UPDATE campaign_metrics SET clicks = 0")
    synced.load_unmapped(DAYS[3])
    sync(synced, DAYS[3])

    answer = api.get("/metrics", synced.tenant, group_by="campaign", **RANGE).json()

    assert {group["clicks"] for group in answer["metrics"]} == {40}
    assert (before["rejected_records"], answer["rejected_records"]) == (0, 1)
    assert str(DAYS[3]) in before["missing_dates"]
    assert str(DAYS[3]) not in answer["missing_dates"]


# Another login


def test_a_login_that_takes_the_apis_role_reads_it_too(
    synced: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    with serving(load_api_settings(), instance) as service:
        assert trust(service, synced.tenant)["missing_dates"] == [str(DAYS[3]), str(DAYS[4]), str(DAYS[6])]


def test_psycopg_caches_how_it_converts_the_statements() -> None:
    """Longer statements would be parsed by each request, which takes as long as reading what they add.

    Those that add up blocks and rows are longer, and take a hundred times as long as that.
    """
    calendar = Calendar(DAYS[0], DAYS[1], parse_restatement_days(DEFAULT))
    one = [UUID(int=1)]
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        whole = MetricsQuery(UUID(int=1), DAYS[0], DAYS[1], table=table)
        of_one = (
            replace(whole, campaign_asset_ids=one)
            if table is ASSET_METRICS
            else replace(whole, campaign_space_ids=one)
        )
        for statement in (
            with_trust(groups(whole, "platform", Page(1, "spend", True, "meta", "", Decimal(1))), whole, calendar),
            with_trust(fingerprint(whole), whole, calendar),
            with_trust(by_date(of_one), of_one, calendar),
        ):
            assert isinstance(statement[0], bytes)
            assert len(statement[0]) <= MAX_CACHED_STATEMENT_LENGTH
