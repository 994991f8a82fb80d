"""Under the real daemon: an outage makes ticks red and loses nothing; source tables tell when they changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, RunsFilter

from engarde_pipeline.core.dates import today
from engarde_pipeline.defs.sensors.alerts import stored_states
from engarde_pipeline_tests.bigquery.faulty import Fault, refusal
from engarde_pipeline_tests.dagster_runs import materializations
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.defs.daemon import eventually, running_daemon
from engarde_pipeline_tests.shop import Shop


def _ticks(instance: DagsterInstance, sensor: str, status: str) -> Sequence[Any]:
    """The ticks of a sensor that ended so, newest first."""
    return [
        tick
        for state in instance.all_instigator_state()
        if state.name == sensor
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        if tick.status.value == status
    ]


def _freshness(instance: DagsterInstance, asset: str) -> str:
    """How Dagster judges an asset by its freshness policy."""
    record = instance.get_freshness_state_records([AssetKey(asset)]).get(AssetKey(asset))
    return record.freshness_state.value if record else ""


@pytest.mark.long
@pytest.mark.xdist_group("daemon")
def test_an_outage_is_red_ticks_with_the_reason_and_then_everything_is_synced_once(
    shop: Shop, times: Times, instance: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", "5")
    shop.load(today())
    for table in ("campaign_metrics", "asset_metrics"):
        times.touch(table, today())
    times.proxy.faults.insert(0, Fault("/tables/", refusal(403, "accessDenied", "Access Denied.")))
    with running_daemon(tmp_path / "daemon.log"):
        eventually(lambda: len(_ticks(instance, "changed_partitions", "FAILURE")) >= 2, "two failed ticks")
        eventually(lambda: any(state.outages for state in stored_states(instance)), "the noted outage")
        (alerted,) = stored_states(instance)
        assert "BigQuery denies access to table" in alerted.outages["BigQuery"].error
        assert not _ticks(instance, "alerts", "FAILURE")
        error = _ticks(instance, "changed_partitions", "FAILURE")[0].error
        assert error.message.startswith(
            "engarde_pipeline.defs.ticks.TickFailed: The tables could not be checked for changes: BigQuery denies"
        )
        assert error.cause is None

        del times.proxy.faults[0]
        eventually(lambda: len(shop.world.rows()) == 2, "the sync after the outage")
        eventually(lambda: _ticks(instance, "changed_partitions", "SKIPPED") != [], "a tick without a change")
        eventually(lambda: _freshness(instance, "bigquery_campaign_metrics") == "PASS", "the source's freshness")
    assert len(instance.get_runs(RunsFilter(job_name="performance_sync"))) == 1
    (changed,) = materializations(instance, "bigquery_campaign_metrics")
    assert changed.asset_key == AssetKey("bigquery_campaign_metrics")
    assert changed.run_id == ""
