"""Since when BigQuery could not be read, from ticks as the daemon stores them."""

import sys
from datetime import UTC, datetime

import pytest
from dagster import DagsterError, DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from engarde_pipeline.defs.sensors.changed_partitions import changed_partitions
from engarde_pipeline.runs.failing_ticks import LOOKS_FOR_CHANGES, FailingTicks, failing_ticks
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.cli.conftest import engarde as engarde  # the fixture
from engarde_pipeline_tests.dagster_runs import origin_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class TickFailed(DagsterError):
    """What a tick raises."""


def _error(message: str) -> SerializableErrorInfo:
    try:
        raise TickFailed(message)  # noqa: TRY301  as a tick does
    except TickFailed:
        return serializable_error_info_from_exc_info(sys.exc_info())


def _tick(instance: DagsterInstance, second: int, status: TickStatus, error: str = "", sensor: str = "") -> None:
    origin = origin_of("performance_sync").repository_origin.get_instigator_origin(sensor or LOOKS_FOR_CHANGES)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE)
    if not instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            origin.instigator_name,
            InstigatorType.SENSOR,
            status,
            NOON + second,
            selector_id=state.selector_id,
            error=_error(error) if error else None,
        )
    )


def test_it_is_the_sensor_that_looks_for_changes() -> None:
    assert changed_partitions.name == LOOKS_FOR_CHANGES


def test_it_has_failed_since_the_first_of_the_latest_ticks_in_a_row(
    instance: DagsterInstance, engarde: Engarde, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_WINDOW_DAYS", "1")
    assert failing_ticks(instance) is None
    _tick(instance, 0, TickStatus.FAILURE, "long ago")
    _tick(instance, 30, TickStatus.SKIPPED)
    assert failing_ticks(instance) is None
    for second, error in ((60, "no network: none"), (90, "no network: none"), (120, "Access denied.\nAsk: who?")):
        _tick(instance, second, TickStatus.FAILURE, error)
    _tick(instance, 150, TickStatus.STARTED)
    _tick(instance, 160, TickStatus.SKIPPED, sensor="alerts")

    assert failing_ticks(instance) == FailingTicks(
        datetime(2026, 3, 1, 12, 1, tzinfo=UTC), "Access denied.\nAsk: who?"
    )
    said = engarde("status", "--days", 1)
    assert said.code == 1
    assert "BigQuery could not be read since 2026-03-01 12:01 UTC: Access denied." in said.words

    _tick(instance, 180, TickStatus.SKIPPED)
    assert failing_ticks(instance) is None
    assert engarde("status", "--days", 1).code == 0
