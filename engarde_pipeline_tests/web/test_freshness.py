"""GET /freshness: the same states as for the operators, without anything of other tenants."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.date_states import current_calendar, state_of
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.postgres.reads.tenant_dates import facts_of, tenant_dates
from engarde_pipeline.runs.date_states import date_facts, read_failures
from engarde_pipeline_tests.api.service import Service, api_database_url
from engarde_pipeline_tests.dagster_runs import run_range
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.numbers import hold_date
from engarde_pipeline_tests.web.visitor import Visitor
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=5)
DAYS = [today() - timedelta(days=n) for n in range(40)]

HELD, EVIDENCE = today() - timedelta(days=8), "tenant Other's 40 rows occur 2 times"


@pytest.fixture
def tenant(shop: Shop) -> UUID:
    return shop.tenant


def _states_for(world: World, tenant: UUID, instance: DagsterInstance) -> dict[tuple[str, str], str | None]:
    """The states as a tenant sees them, read with the role of the API."""
    calendar = current_calendar()
    statement, values = tenant_dates(tenant, DAYS)
    with connect(api_database_url(world.database_url)) as connection, connection.transaction():
        connection.execute("SELECT set_config('engarde.tenant_id', %s, true)", [str(tenant)])
        cursor = connection.execute(statement, values)
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    facts = facts_of(rows, read_failures(instance).keys())
    return {(each.table.target, str(each.day)): state_of(each, calendar) for each in facts}


def test_a_date_that_was_never_synced_is_missing(visitor: Visitor) -> None:
    page = visitor.read("/freshness")
    assert "Last sync of a date never" in page
    assert f"{DAY}: missing" in page
    assert "not expected yet Most ad accounts have not reached this date." in page  # the legend
    ahead = latest_date()
    assert (f"{ahead}: not expected yet" in page) == (ahead > today())


def test_each_state_is_shown_in_words_and_nothing_of_the_evidence(
    visitor: Visitor, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(DAY, DAY + timedelta(days=1))
    shop.load_unmapped(DAY)
    assert run_range(instance, DAY, DAY + timedelta(days=1)).success
    hold_date(shop.world, HELD, EVIDENCE)
    # The source table is gone: the next date fails as a whole.
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.campaign_metrics")
    assert not run_range(instance, DAY + timedelta(days=2), DAY + timedelta(days=2)).success

    page = visitor.read("/freshness")

    assert f"{DAY}: provisional, 1 rejected record" in page
    assert f"{DAY + timedelta(days=1)}: provisional" in page
    assert f"{DAY + timedelta(days=2)}: failed" in page
    assert f"{HELD}: held" in page
    assert f"{today():%Y-%m-%d} " in page.split("Last comparison with BigQuery")[1]
    html = visitor.get("/freshness").text
    for secret in (EVIDENCE, "Other", shop.world.dataset, "BigQuery has no table"):
        assert secret not in html


def test_the_states_are_those_of_engarde_status(shop: Shop, instance: DagsterInstance) -> None:
    shop.load(DAY)
    assert run_range(instance, DAY, DAY).success
    hold_date(shop.world, HELD, EVIDENCE)
    for version, day in (("missing", DAYS[3]), ("20261101T000000-1-1", DAYS[35])):
        shop.world.connection.execute(
            "INSERT INTO synced_dates (table_name, metric_date, version, run_id, synced_at)"
            " VALUES ('campaign_asset_metrics', %s, %s, %s, now())",
            [day, version, uuid4()],
        )
    shop.world.execute(f"DROP TABLE {shop.world.dataset}.campaign_metrics")
    run_range(instance, DAYS[2], DAYS[2])

    theirs = _states_for(shop.world, shop.tenant, instance)

    calendar = current_calendar()
    with connect(shop.world.database_url) as connection:
        operators = date_facts(connection, DAYS, read_failures(instance))
        unaware = read_date_facts(connection, DAYS)
    ours = {(each.table.target, str(each.day)): state_of(each, calendar) for each in operators}
    assert theirs == ours
    assert len(ours) == len(DAYS) * len(METRIC_TABLES)
    assert {"held", "failed", "no_table", "missing", "provisional", "complete"} <= {*filter(None, ours.values())}
    assert any(state_of(each, calendar) != ours[each.table.target, str(each.day)] for each in unaware)


def test_rejected_records_are_those_of_the_tenant(visitor: Visitor, service: Service, shop: Shop) -> None:
    other = shop.world.tenant("Other")
    shop.load(DAY)
    shop.load_unmapped(DAY, tenant=str(other))
    shop.world.sync(DAY)

    assert f"{DAY}: missing, 1 rejected record" in Visitor(service, other).read("/freshness")
    assert f"{DAY}: missing," not in visitor.read("/freshness")


def test_older_dates_that_need_a_person_are_named(visitor: Visitor, shop: Shop) -> None:
    old = today() - timedelta(days=100)
    hold_date(shop.world, old)
    assert f"Older dates need attention, too: {old}" in visitor.read("/freshness")
    assert f"{old}: held" in visitor.read("/freshness", days=365)


def test_without_dagsters_history_the_rest_is_shown(visitor: Visitor, dagster_database_url: str) -> None:
    with connect(dagster_database_url) as connection:
        connection.execute("ALTER TABLE event_logs RENAME TO elsewhere; ALTER TABLE runs RENAME TO elsewhere_too")
    for path in ("/freshness", "/attention"):
        assert "The history of syncs cannot be read at the moment" in visitor.read(path)
    assert "The history cannot be read at the moment" in visitor.read("/sync")
    assert f"{DAY}: missing" in visitor.read("/freshness")


@pytest.mark.parametrize("days", ["31", "0", "-1", "x", "1e9", "30\x00"])
def test_another_number_of_dates_is_refused(visitor: Visitor, days: str) -> None:
    assert visitor.get("/freshness", days=days).status_code == 422


def test_without_a_session_the_login_is_asked_for(service: Service) -> None:
    for path in ("/freshness", "/attention", "/sync", "/session"):
        answer = service.client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next=%2F{path[1:]}")
        fragment = service.client.get(path, headers={"HX-Request": "true"})
        assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, f"/login?next=%2F{path[1:]}")


def test_a_session_is_valid_until_it_is_not(visitor: Visitor) -> None:
    assert visitor.get("/session").status_code == 204
