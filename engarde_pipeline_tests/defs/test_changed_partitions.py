"""The sensor asks for the dates that changed, once per change, in few runs, and reads no metrics to find them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    build_sensor_context,
)

from engarde_pipeline.core.dates import dates_ahead, latest_date, today
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.sensors.changed_partitions import changed_partitions
from engarde_pipeline.defs.ticks import TickFailed
from engarde_pipeline.postgres.load.synced_dates import MINUTES_BETWEEN_NOTES
from engarde_pipeline.runs.history import metadata_of
from engarde_pipeline_tests.bigquery.faulty import Answer, Fault, Request, refusal
from engarde_pipeline_tests.dagster_runs import materializations
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.shop import NUMBERS, Shop

YESTERDAY, TODAY = today() - timedelta(days=1), today()
OLD = today() - timedelta(days=200)

WINDOW = 3
"""Days in the window once a first tick has synced it: a run takes its time for each date."""

Tick = Callable[[], SensorResult]


@pytest.fixture
def tick(instance: DagsterInstance, times: Times) -> Tick:
    """`tick()` evaluates the sensor as the daemon does, with the cursor it left."""
    cursor: list[str | None] = [None]

    def evaluate() -> SensorResult:
        context = build_sensor_context(instance, cursor=cursor[0], definitions=defs)
        result = changed_partitions(context, bigquery=BigQuery(), postgres=Postgres())
        assert isinstance(result, SensorResult)
        cursor[0] = result.cursor
        return result

    return evaluate


def execute(instance: DagsterInstance, *requests: RunRequest) -> None:
    for request in requests:
        job = defs.resolve_job_def("performance_sync").get_subset(
            asset_selection=set(request.asset_selection or ())
        )
        job.execute_in_process(instance=instance, tags=request.tags, raise_on_error=False)


def asked(result: SensorResult) -> list[tuple[str, str, set[str]]]:
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
            {key.to_user_string() for key in request.asset_selection or ()} - {"campaign_space_aggregates"},
        )
        for request in result.run_requests or ()
    ]


BOTH = {"campaign_metrics", "campaign_asset_metrics"}


@pytest.fixture
def synced(
    shop: Shop, times: Times, tick: Tick, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two dates with rows, and a first tick whose runs have ended."""
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", str(WINDOW))
    shop.load(YESTERDAY, TODAY)
    for table in ("campaign_metrics", "asset_metrics"):
        times.touch(table, YESTERDAY, TODAY)
    execute(instance, *(tick().run_requests or ()))


def test_a_first_start_asks_for_the_last_thirty_dates_in_one_run(shop: Shop, tick: Tick) -> None:
    shop.load(TODAY)
    assert asked(tick()) == [(str(TODAY - timedelta(days=29)), str(TODAY), BOTH)]


def test_dates_that_were_read_without_currencies_are_read_again(
    synced: None, shop: Shop, tick: Tick, instance: DagsterInstance
) -> None:
    assert asked(tick()) == []

    shop.world.create_source(currency="STRING")  # its partitions keep their times
    keys = {"tenant_id": str(shop.tenant), "platform": "meta", "currency": "EUR"}
    rows = [
        {**keys, **NUMBERS, "campaign_id": name, "metric_date": day}
        for name in ("c1", "c2")
        for day in (YESTERDAY, TODAY)
    ]
    shop.world.load(rows)
    requests = tick().run_requests or ()

    assert asked(SensorResult(run_requests=[*requests])) == [(str(YESTERDAY), str(TODAY), {"campaign_metrics"})]
    execute(instance, *requests)
    assert {row["currency"] for row in shop.world.rows()} == {"EUR"}
    assert asked(tick()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "cursor",
    [
        "{",
        "null",
        "[]",
        '{"states": [], "due": []}',
        '{"version": 99, "states": {}, "due": []}',
        '{"states": {}, "due": [["campaign_metrics", "2026-03-01", "r", "v", 1, true]]}',  # version 1
        '{"version": 2, "states": {}, "due": [{"table": "gone", "day": "2026-03-01", "reason": "r",'
        ' "version": "v", "size": 1, "requested": true}]}',
    ],
)
def test_a_cursor_that_cannot_be_read_starts_anew(
    shop: Shop, times: Times, instance: DagsterInstance, cursor: str
) -> None:
    shop.load(TODAY)
    context = build_sensor_context(instance, cursor=cursor, definitions=defs)
    result = changed_partitions(context, bigquery=BigQuery(), postgres=Postgres())
    assert isinstance(result, SensorResult)
    assert asked(result) == [(str(TODAY - timedelta(days=29)), str(TODAY), BOTH)]


def test_a_lost_cursor_requests_the_same_run_keys_again(
    shop: Shop, times: Times, instance: DagsterInstance
) -> None:
    shop.load(TODAY)
    keys = []
    for cursor in (None, '{"version": 1}'):
        context = build_sensor_context(instance, cursor=cursor, definitions=defs)
        result = changed_partitions(context, bigquery=BigQuery(), postgres=Postgres())
        assert isinstance(result, SensorResult)
        keys.append([request.run_key for request in result.run_requests or ()])
    assert keys[0] == keys[1] != []


@pytest.mark.long
def test_a_date_says_why_it_was_synced(synced: None, tick: Tick, times: Times, instance: DagsterInstance) -> None:
    times.touch("campaign_metrics", YESTERDAY)
    execute(instance, *(tick().run_requests or ()))

    said = [metadata_of(each)["reason"] for each in materializations(instance, "campaign_metrics")]
    assert said[-1] == "changed at 2026-01-01 00:03 UTC"
    assert set(said[:-1]) == {"missing: never synced"}


def test_a_tick_without_a_change_costs_no_query_and_says_so(synced: None, tick: Tick, times: Times) -> None:
    before = times.partition_queries()
    result = tick()
    assert not result.run_requests
    assert result.skip_reason
    assert "No table has changed" in str(result.skip_reason.skip_message)
    assert times.partition_queries() == before


def test_a_changed_partition_is_asked_for_alone_and_once(synced: None, tick: Tick, times: Times) -> None:
    times.touch("campaign_metrics", YESTERDAY)
    assert asked(tick()) == [(str(YESTERDAY), str(YESTERDAY), {"campaign_metrics"})]
    assert asked(tick()) == []


@pytest.mark.long
def test_a_partition_that_changes_again_is_asked_for_again(
    synced: None, tick: Tick, times: Times, instance: DagsterInstance
) -> None:
    keys = set()
    for _ in range(3):
        times.touch("campaign_metrics", YESTERDAY)
        requests = tick().run_requests or []
        execute(instance, *requests)
        keys |= {request.run_key for request in requests}
    assert len(keys) == 3


@pytest.mark.long
def test_a_date_synced_long_ago_is_asked_for_when_it_changes_late(
    synced: None, tick: Tick, times: Times, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(OLD)
    times.touch("campaign_metrics", OLD)
    assert asked(tick()) == []  # outside the window, never synced: nobody's business

    job = defs.resolve_job_def("performance_sync")
    job.execute_in_process(instance=instance, partition_key=str(OLD))
    times.touch("campaign_metrics", OLD)
    assert asked(tick()) == [(str(OLD), str(OLD), {"campaign_metrics"})]


def test_dates_that_lost_rows_in_postgres_are_asked_for_once_and_again_after_the_next_loss(
    synced: None, tick: Tick, shop: Shop, instance: DagsterInstance, times: Times
) -> None:
    for _ in range(2):
        shop.world.connection.execute("DELETE FROM campaign_metrics WHERE metric_date = %s", [YESTERDAY])
        result = tick()
        assert asked(result) == [(str(YESTERDAY), str(YESTERDAY), {"campaign_metrics"})]
        assert asked(tick()) == []
        execute(instance, *(result.run_requests or ()))
        assert asked(tick()) == []
    assert len(shop.world.rows()) == 4
    before = times.partition_queries()
    tick()
    assert times.partition_queries() == before


def test_a_campaign_that_is_connected_again_gets_its_old_dates_back(
    synced: None, tick: Tick, shop: Shop, instance: DagsterInstance, times: Times
) -> None:
    shop.load(OLD)
    times.touch("campaign_metrics", OLD)
    job = defs.resolve_job_def("performance_sync")
    job.execute_in_process(instance=instance, partition_key=str(OLD))

    shop.world.connection.execute("DELETE FROM campaign_spaces WHERE id = %s", [shop.second])
    again = shop.world.campaign(shop.tenant, "c2")
    execute(instance, *(tick().run_requests or ()))

    found = {row["metric_date"] for row in shop.world.rows() if row["campaign_space_id"] == again}
    assert found == {OLD, YESTERDAY, TODAY}


def test_a_date_that_an_unfinished_run_has_is_asked_for_after_it(
    synced: None, tick: Tick, times: Times, instance: DagsterInstance
) -> None:
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(
        job, tags={"dagster/partition": str(YESTERDAY)}, status=DagsterRunStatus.STARTED
    )
    times.touch("campaign_metrics", YESTERDAY, TODAY)
    assert asked(tick()) == [(str(TODAY), str(TODAY), {"campaign_metrics"})]
    instance.report_run_canceled(run)
    assert asked(tick()) == [(str(YESTERDAY), str(YESTERDAY), {"campaign_metrics"})]


@pytest.mark.long
def test_rows_in_the_streaming_buffer_are_synced_with_the_recent_dates_and_again_when_they_settle(
    synced: None, tick: Tick, times: Times, instance: DagsterInstance
) -> None:
    times.buffered["campaign_metrics"] = 5
    streaming = tick()
    assert asked(streaming) == [(str(YESTERDAY), str(latest_date()), {"campaign_metrics"})]
    execute(instance, *(streaming.run_requests or ()))

    times.buffered["campaign_metrics"] = 0
    times.touch("campaign_metrics", TODAY)
    assert asked(tick())[-1][1] == str(TODAY)


def test_a_day_over_its_budget_asks_for_nothing_until_it_is_raised(
    synced: None, tick: Tick, times: Times, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.world.connection.execute(
        "INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 2000)"
        " ON CONFLICT (day) DO UPDATE SET bytes_read = 2000"
    )
    times.touch("campaign_metrics", YESTERDAY)
    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "2000")
    stopped = tick()
    assert stopped.skip_reason
    assert "daily budget" in str(stopped.skip_reason.skip_message)

    monkeypatch.setenv("ENGARDE_DAILY_BYTES", "1000000")
    assert asked(tick()) == [(str(YESTERDAY), str(YESTERDAY), {"campaign_metrics"})]


@pytest.mark.long
def test_without_a_right_to_partition_metadata_partitions_are_looked_up_one_by_one(
    synced: None, tick: Tick, times: Times
) -> None:
    def no_metadata(request: Request) -> Answer | None:
        if b"INFORMATION_SCHEMA" not in request.body:
            return None
        return refusal(403, "accessDenied", "Access Denied: no permission to query INFORMATION_SCHEMA.")

    times.proxy.faults.insert(0, Fault("POST", no_metadata))
    times.proxy.requests.clear()
    times.touch("campaign_metrics", YESTERDAY)

    assert asked(tick()) == [(str(YESTERDAY), str(TODAY), {"campaign_metrics"})]

    looked_up = {request.call.rpartition("$")[2] for request in times.proxy.seen("campaign_metrics$")}
    looked_at = [*(TODAY - timedelta(days=n) for n in range(WINDOW)), *dates_ahead()]
    assert looked_up == {f"{day:%Y%m%d}" for day in looked_at}


def test_a_tick_that_cannot_read_bigquery_fails_and_the_next_goes_on_where_the_last_good_one_was(
    synced: None, tick: Tick, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    times.touch("campaign_metrics", YESTERDAY)
    times.proxy.faults.insert(0, Fault("GET", refusal(403, "accessDenied", "Access Denied.")))
    with pytest.raises(TickFailed) as failed:
        tick()
    assert str(failed.value).startswith(
        "The tables could not be checked for changes: BigQuery denies access to table"
    )
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__

    del times.proxy.faults[0]
    with monkeypatch.context() as broken:
        broken.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
        with pytest.raises(TickFailed, match="could not be checked for changes: Cannot connect to Postgres"):
            tick()
    assert asked(tick()) == [(str(YESTERDAY), str(YESTERDAY), {"campaign_metrics"})]
    assert asked(tick()) == []


def test_a_source_table_tells_dagster_when_it_changed_and_only_then(
    synced: None, tick: Tick, times: Times, shop: Shop
) -> None:
    assert tick().asset_events == []
    times.touch("campaign_metrics", YESTERDAY)
    (event,) = tick().asset_events
    assert isinstance(event, AssetMaterialization)
    assert event.asset_key == AssetKey("bigquery_campaign_metrics")
    assert event.description == f"Changed at 2026-01-01 00:03 UTC. Dates to sync: campaign_metrics {YESTERDAY}."
    found = {name: value.value for name, value in event.metadata.items()}
    modified = datetime(2026, 1, 1, 0, 3, tzinfo=UTC).timestamp()
    assert found == {"dagster/row_count": 4, "dagster/last_updated_timestamp": modified, "dates_due": 1}
    version = (event.tags or {})["dagster/data_version"]
    assert version

    # What happens in Postgres is no change of the source.
    shop.world.connection.execute("DELETE FROM campaign_metrics WHERE metric_date = %s", [TODAY])
    result = tick()
    assert asked(result) == [(str(TODAY), str(TODAY), {"campaign_metrics"})]
    assert result.asset_events == []

    times.touch("campaign_metrics", YESTERDAY)
    (again,) = tick().asset_events
    assert isinstance(again, AssetMaterialization)
    assert (again.tags or {})["dagster/data_version"] != version


def test_a_date_nobody_could_have_is_not_asked_for(synced: None, tick: Tick, shop: Shop, times: Times) -> None:
    future = TODAY + timedelta(days=3)
    shop.load(future, date(2019, 1, 1))
    times.touch("campaign_metrics", future, date(2019, 1, 1))
    assert asked(tick()) == []


AGES_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def compared(shop: Shop, day: date) -> datetime:
    """Return when the campaigns of a date were compared with BigQuery."""
    (found,) = shop.world.query(
        "SELECT compared_at FROM synced_dates WHERE (table_name, metric_date) = ('campaign_metrics', %s)", [day]
    )
    moment: datetime = found["compared_at"]
    return moment


def forget_comparisons(shop: Shop, moment: datetime = AGES_AGO) -> None:
    shop.world.connection.execute("UPDATE synced_dates SET compared_at = %s", [moment])


def test_a_tick_notes_which_dates_it_found_unchanged(
    synced: None, tick: Tick, times: Times, shop: Shop, instance: DagsterInstance
) -> None:
    forget_comparisons(shop)
    before = datetime.now(UTC)
    assert asked(tick()) == []  # no table has changed
    assert min(compared(shop, YESTERDAY), compared(shop, TODAY)) >= before

    forget_comparisons(shop)
    times.touch("campaign_metrics", YESTERDAY)
    requests = tick().run_requests or ()
    assert compared(shop, YESTERDAY) == AGES_AGO
    assert compared(shop, TODAY) > before
    tick()
    assert compared(shop, YESTERDAY) == AGES_AGO  # not synced yet

    execute(instance, *requests)
    assert compared(shop, YESTERDAY) > before


def test_a_comparison_is_noted_every_few_minutes_and_no_lock_stops_the_tick(
    synced: None, tick: Tick, shop: Shop
) -> None:
    recent = datetime.now(UTC) - timedelta(minutes=MINUTES_BETWEEN_NOTES - 1)
    forget_comparisons(shop, recent)
    tick()
    assert compared(shop, TODAY) == recent

    forget_comparisons(shop)
    with shop.world.connection.transaction():
        shop.world.connection.execute("SELECT FROM synced_dates WHERE metric_date = %s FOR UPDATE", [TODAY])
        tick()
    assert compared(shop, TODAY) == AGES_AGO
    assert compared(shop, YESTERDAY) > AGES_AGO

    shop.world.connection.execute("ALTER TABLE synced_dates RENAME compared_at TO renamed")
    result = tick()
    assert result.skip_reason
    assert "No table has changed" in str(result.skip_reason.skip_message)


def test_an_old_date_whose_partition_is_gone_is_not_noted_as_unchanged(
    synced: None, tick: Tick, times: Times, shop: Shop, instance: DagsterInstance
) -> None:
    shop.load(OLD)
    times.touch("campaign_metrics", OLD)
    tick()
    defs.resolve_job_def("performance_sync").execute_in_process(instance=instance, partition_key=str(OLD))
    forget_comparisons(shop)
    tick()
    assert compared(shop, OLD) > AGES_AGO

    forget_comparisons(shop)
    shop.world.execute(f"DELETE FROM {shop.world.dataset}.campaign_metrics WHERE metric_date = '{OLD}'")
    times.touch("campaign_metrics", TODAY)
    execute(instance, *(tick().run_requests or ()))
    for _ in range(2):
        tick()
        assert compared(shop, OLD) == AGES_AGO
    assert compared(shop, YESTERDAY) > AGES_AGO
