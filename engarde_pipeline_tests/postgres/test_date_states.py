"""What Postgres knows of dates: the numbers are those of the rows, and the API's SQL follows the same rule."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engarde_pipeline.core.date_states import DateFacts, DateState, SyncCalendar, state_of
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, METRIC_TABLES, MetricTable
from engarde_pipeline.core.restatement import RestatementDays
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery
from engarde_pipeline.postgres.reads.trust import Calendar, with_trust
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY
from engarde_pipeline_tests.world import World


def _facts(world: World, *days: date) -> dict[tuple[MetricTable, date], DateFacts]:
    return {(each.table, each.day): each for each in read_date_facts(world.connection, days)}


def test_the_numbers_of_a_date_are_those_of_its_rows(world: World) -> None:
    tenant = world.tenant()
    space = world.campaign(tenant, "c1")
    world.campaign(tenant, "c2")
    world.asset(space, "a1")
    for table in METRIC_TABLES:
        world.create_source(table, currency="STRING")
    keys = {"tenant_id": str(tenant), "platform": "meta", "metric_date": DAY}
    world.load(
        [
            {**keys, "campaign_id": "c1", "spend": 10.5, "revenue": 4.0, "currency": "EUR"},
            {**keys, "campaign_id": "c2", "spend": 3.0, "revenue": 1.0, "currency": "USD"},
            {**keys, "campaign_id": "nobody", "spend": 4.5, "currency": "EUR"},
            {**keys, "campaign_id": "nobody", "spend": 1.0, "currency": "euro"},
            {**keys, "campaign_id": "negative", "spend": -5.0, "currency": "USD"},
        ]
    )
    creative = {"platform": "meta", "metric_date": DAY, "campaign_id": "c1", "currency": "EUR", "spend": 2.0}
    world.load([{**creative, "asset_id": "a1", "spend": 6.0}, {**creative, "asset_id": "a2"}], ASSET_METRICS)
    for table in METRIC_TABLES:
        world.sync_one(DAY, table=table, versions={DAY: "v1"})

    found = _facts(world, DAY, NEXT_DAY)

    campaigns, assets = found[CAMPAIGN_METRICS, DAY], found[ASSET_METRICS, DAY]
    assert (campaigns.rows, campaigns.rejected_records) == (2, 2)
    assert campaigns.spend == {"EUR": Decimal("10.5"), "USD": Decimal(3)}
    assert campaigns.revenue == {"EUR": Decimal(4), "USD": Decimal(1)}
    # The two rows of `nobody` are one record with several currencies, which has no sum.
    assert campaigns.rejected_spend == {}
    assert (assets.rows, assets.spend, assets.rejected_spend) == (1, {"EUR": Decimal(6)}, {"EUR": Decimal(2)})
    assert assets.rejected_spend_share == {"EUR": 0.25}
    assert (found[CAMPAIGN_METRICS, NEXT_DAY].rows, found[ASSET_METRICS, NEXT_DAY].rows) == (None, None)

    world.replace(DAY, [{**keys, "campaign_id": "nobody", "spend": 4.5, "currency": "EUR"}])
    world.sync_one(DAY, shrink_threshold=None, versions={DAY: "v2"})

    campaigns = _facts(world, DAY)[CAMPAIGN_METRICS, DAY]
    assert (campaigns.rows, campaigns.spend, campaigns.rejected_spend_share) == (0, {}, {"EUR": 1.0})


def test_a_held_date_is_read_whether_or_not_it_is_asked_for(world: World) -> None:
    tenant = world.tenant()
    world.campaign(tenant, "c1")
    world.load([{"tenant_id": str(tenant), "platform": "meta", "campaign_id": "c1", "metric_date": DAY}])
    world.sync_one(DAY)
    world.replace(DAY, [])
    run = uuid4()
    world.sync(DAY, run_id=run)

    held = _facts(world)[CAMPAIGN_METRICS, DAY]

    assert held.held is not None
    assert "BigQuery has 0 records" in held.held
    assert (held.held_by, held.rows) == (run, 1)
    assert _facts(world)[ASSET_METRICS, DAY].held is None
    world.sync_one(DAY, shrink_threshold=None)
    assert _facts(world) == {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_api_says_missing_and_provisional_where_the_rule_does(world: World, data: st.DataObject) -> None:
    """The API's SQL is on its own for speed; the states are derived from the same rows."""
    days = [DAY + timedelta(days=n) for n in range(12)]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(days), st.sampled_from(days))))
    now = datetime.combine(data.draw(st.sampled_from(days)), datetime.min.time(), UTC) + timedelta(
        minutes=data.draw(st.integers(0, 24 * 60 - 1))
    )
    longest, others = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    first_date = data.draw(st.sampled_from(days))
    synced, held = (data.draw(st.sets(st.sampled_from(days))) for _ in range(2))
    with world.connection.transaction(force_rollback=True):
        for day in sorted(synced):
            world.connection.execute(
                "INSERT INTO synced_dates (table_name, metric_date, version, run_id) VALUES (%s, %s, %s, %s)",
                [CAMPAIGN_METRICS.target, day, data.draw(st.sampled_from(["v", "missing"])), uuid4()],
            )
        for day in sorted(held):
            world.connection.execute(
                "INSERT INTO held_dates (table_name, metric_date, reason, evidence, run_id)"
                " VALUES (%s, %s, 'grown', 'evidence', %s)",
                [CAMPAIGN_METRICS.target, day, uuid4()],
            )
        restatement = RestatementDays({"meta": longest}, others)
        rule = SyncCalendar(now, first_date, 30, restatement.longest)
        found = {
            each.day: (state_of(each, rule), each.synced_at)
            for each in read_date_facts(world.connection, days)
            if each.table is CAMPAIGN_METRICS and start <= each.day <= end
        }
        query = MetricsQuery(UUID(int=1), start, end)
        statement, values = with_trust(
            (b"SELECT 1 AS one", {}), query, Calendar(first_date, rule.today, restatement)
        )
        (row,) = world.query(statement.decode(), values)  # type: ignore[union-attr, arg-type]
        trust = json.loads(row["trust"])

    missing = [str(day) for day, (state, _) in found.items() if state is DateState.MISSING]
    # The API does not know of holds: a date that was never synced has no numbers, whatever the reason.
    never_synced = [
        str(day)
        for day, (state, synced_at) in found.items()
        if state is DateState.HELD and synced_at is None and rule.can_be_missing(day)
    ]
    assert sorted(trust["missing_dates"]) == sorted(missing + never_synced)
    provisional = [day for day in found if rule.is_provisional(day)]
    assert trust["provisional_from"] == (str(min(provisional)) if provisional else None)
