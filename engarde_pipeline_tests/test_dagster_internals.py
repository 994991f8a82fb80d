"""The contract of what is taken from Dagster's private modules: a new version that changes it is found here."""

import pytest
from dagster import DagsterInstance, Output, asset, materialize
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import TagType, get_tag_type

from engarde_pipeline import dagster_internals
from engarde_pipeline.dagster_internals import (
    ASSET_JOB,
    BULK_ACTION_TERMINAL_STATUSES,
    HIDDEN_TAG_PREFIX,
    NO_MATERIALIZATIONS_AT_THE_END,
)
from engarde_pipeline.definitions import defs

# Runs of before have these tags, and other tools look for them: their text must not change.
TAGS = {
    "ASSET_PARTITION_RANGE_END_TAG": "dagster/asset_partition_range_end",
    "ASSET_PARTITION_RANGE_START_TAG": "dagster/asset_partition_range_start",
    "AUTO_RETRY_RUN_ID_TAG": "dagster/auto_retry_run_id",
    "BACKFILL_ID_TAG": "dagster/backfill",
    "DATA_VERSION_TAG": "dagster/data_version",
    "MAX_RETRIES_TAG": "dagster/max_retries",
    "PARTITION_NAME_TAG": "dagster/partition",
    "PRIORITY_TAG": "dagster/priority",
    "RETRY_NUMBER_TAG": "dagster/retry_number",
    "ROOT_RUN_ID_TAG": "dagster/root_run_id",
    "SCHEDULE_NAME_TAG": "dagster/schedule_name",
    "SENSOR_NAME_TAG": "dagster/sensor_name",
    "WILL_RETRY_TAG": "dagster/will_retry",
}


@pytest.mark.parametrize(("name", "text"), TAGS.items())
def test_a_tag_has_the_text_that_earlier_runs_have(name: str, text: str) -> None:
    assert getattr(dagster_internals, name) == text


def test_every_tag_that_is_taken_is_checked() -> None:
    assert {name for name in vars(dagster_internals) if name.endswith("_TAG")} == TAGS.keys()


def test_tags_with_this_prefix_are_hidden() -> None:
    # Runs of before have their counts in such tags: the prefix must not change.
    assert HIDDEN_TAG_PREFIX == ".dagster/"
    tags = (f"{HIDDEN_TAG_PREFIX}engarde_counts.campaign_metrics", "engarde/dates")
    kinds = [get_tag_type(tag) for tag in tags]  # type: ignore[no-untyped-call]
    assert kinds == [TagType.HIDDEN, TagType.USER_PROVIDED]


def test_assets_on_their_own_run_in_the_job_of_that_name() -> None:
    assert defs.resolve_implicit_global_asset_job_def().name == ASSET_JOB


@pytest.mark.parametrize("is_suppressed", [True, False])
def test_the_metadata_key_suppresses_the_materialization_at_the_end(is_suppressed: bool) -> None:
    @asset
    def some_asset() -> Output[None]:
        return Output(None, metadata=NO_MATERIALIZATIONS_AT_THE_END if is_suppressed else {})

    result = materialize([some_asset], instance=DagsterInstance.ephemeral())

    assert len(result.asset_materializations_for_node("some_asset")) == (0 if is_suppressed else 1)


def test_a_backfill_has_ended_in_the_statuses_in_which_no_run_starts() -> None:
    assert {
        BulkActionStatus.COMPLETED_SUCCESS,
        BulkActionStatus.COMPLETED_FAILED,
        BulkActionStatus.FAILED,
        BulkActionStatus.CANCELED,
    } <= set(BULK_ACTION_TERMINAL_STATUSES)
    # The daemon still retries runs of a backfill that is being canceled.
    for status in (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING):
        assert status not in BULK_ACTION_TERMINAL_STATUSES
