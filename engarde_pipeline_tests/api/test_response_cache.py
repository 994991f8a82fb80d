"""What the API remembers is never older than Postgres: the next request sees any change of a tenant's rows."""

from datetime import date, timedelta
from uuid import UUID

import pytest

from engarde_pipeline.api import response_cache
from engarde_pipeline.postgres.totals.metric_blocks import BLOCK_DAYS, update_blocks
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY, NEXT)
    shop.world.sync(DAY, NEXT)
    return shop


def clicks(api: Service, tenant: UUID, **params: str) -> dict[str, int]:
    """Return the clicks of each campaign, as the API tells them."""
    dates = {"start_date": str(DAY), "end_date": str(NEXT)}
    answer = api.get("/metrics", tenant, group_by="campaign", **{**dates, **params}).json()
    return {group["campaign_space_id"]: group["clicks"] for group in answer["metrics"]}


def test_what_has_not_changed_is_not_added_up_again(api: Service, synced: Shop) -> None:
    told = clicks(api, synced.tenant)
    assert set(told.values()) == {20}

    # Behind the back of whatever notes a change: a request that read the rows again would see it.
    synced.world.connection.execute("ALTER TABLE campaign_metrics DISABLE TRIGGER USER")
    synced.world.connection.execute("UPDATE campaign_metrics SET clicks = 0")

    assert clicks(api, synced.tenant) == told


def test_a_sync_that_changes_a_date_is_seen_by_the_next_request(api: Service, synced: Shop) -> None:
    clicks(api, synced.tenant)
    source = f"{synced.world.dataset}.campaign_metrics"
    synced.world.execute(f"UPDATE {source} SET clicks = 11 WHERE campaign_id = 'c1'")

    synced.world.sync(DAY, NEXT)

    assert clicks(api, synced.tenant) == {str(synced.first): 22, str(synced.second): 20}


def test_a_change_that_leaves_every_sum_as_it_was_is_seen_too(api: Service, synced: Shop) -> None:
    clicks(api, synced.tenant)

    synced.world.connection.execute(
        "UPDATE campaign_metrics SET clicks = clicks + CASE campaign_space_id WHEN %s THEN 1 ELSE -1 END",
        [synced.first],
    )

    assert clicks(api, synced.tenant) == {str(synced.first): 22, str(synced.second): 18}


def test_a_campaign_that_the_application_deletes_is_gone_from_the_next_answer(api: Service, synced: Shop) -> None:
    clicks(api, synced.tenant)

    synced.world.connection.execute("DELETE FROM campaign_spaces WHERE id = %s", [synced.second])

    assert clicks(api, synced.tenant) == {str(synced.first): 20}


def test_a_campaign_that_the_application_renames_has_its_new_name_in_the_next_answer(
    api: Service, synced: Shop
) -> None:
    clicks(api, synced.tenant)
    synced.world.connection.execute("UPDATE campaign_spaces SET name = 'Renamed' WHERE id = %s", [synced.second])

    dates = {"start_date": str(DAY), "end_date": str(NEXT)}
    told = api.get("/metrics", synced.tenant, group_by="campaign", **dates).json()["metrics"]
    assert [group["name"] for group in told if group["campaign_space_id"] == str(synced.second)] == ["Renamed"]


def test_a_change_not_yet_committed_is_not_seen_and_then_is(api: Service, synced: Shop) -> None:
    before = clicks(api, synced.tenant)
    with synced.world.connection.transaction():
        synced.world.connection.execute("UPDATE campaign_metrics SET clicks = 7")
        assert clicks(api, synced.tenant) == before

    assert set(clicks(api, synced.tenant).values()) == {14}


def test_the_same_question_of_another_tenant_has_another_answer(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")
    told = clicks(api, synced.tenant)

    assert clicks(api, other) == {}
    assert clicks(api, synced.tenant) == told


def test_another_question_is_not_taken_for_the_same(api: Service, synced: Shop) -> None:
    synced.world.campaign(synced.tenant, "g1", "google")
    assert len(clicks(api, synced.tenant)) == 2
    assert len(clicks(api, synced.tenant, limit="1")) == 1
    assert clicks(api, synced.tenant, campaign_space_ids=str(synced.second)) == {str(synced.second): 20}
    assert clicks(api, synced.tenant, platform="google") == {}


def test_an_answer_larger_than_the_memory_is_given_all_the_same(
    api: Service, synced: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_cache, "_MAX_BYTES", 10)

    assert clicks(api, synced.tenant) == clicks(api, synced.tenant)


def test_blocks_of_dates_are_read_as_long_as_no_row_of_theirs_has_changed(api: Service, synced: Shop) -> None:
    start = DAY - timedelta((DAY - date(1970, 1, 1)).days % BLOCK_DAYS[0])
    block = {"start_date": str(start), "end_date": str(start + timedelta(BLOCK_DAYS[0] - 1))}
    assert str(NEXT) <= block["end_date"]
    update_blocks(synced.world.connection)
    synced.world.connection.execute("ALTER TABLE campaign_metrics DISABLE TRIGGER USER")
    synced.world.connection.execute("UPDATE campaign_metrics SET clicks = 0")
    synced.world.connection.execute("ALTER TABLE campaign_metrics ENABLE TRIGGER USER")

    assert set(clicks(api, synced.tenant, **block).values()) == {20}

    synced.world.connection.execute("UPDATE campaign_metrics SET spend = spend + 1 WHERE metric_date = %s", [DAY])
    assert set(clicks(api, synced.tenant, **block).values()) == {0}
