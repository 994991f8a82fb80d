"""The contract of what is taken from Dagster's private modules: a new version that changes it is found here."""

from uuid import uuid4

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    OpExecutionContext,
    Output,
    RunsFilter,
    StaticPartitionsDefinition,
    asset,
    in_process_executor,
    job,
    materialize,
    op,
)
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import TagType, get_tag_type
from dagster_shared.record import replace

from engarde_pipeline import dagster_internals
from engarde_pipeline.dagster_internals import (
    ASSET_JOB,
    BULK_ACTION_TERMINAL_STATUSES,
    DATA_VERSION_TAG,
    HIDDEN_TAG_PREFIX,
    NO_MATERIALIZATIONS_AT_THE_END,
    attempts_not_landed,
    log_materializations,
    runs_by_job_and_status,
    store_check_evaluations,
    target_materialization,
)
from engarde_pipeline.definitions import defs
from engarde_pipeline_tests.world import World

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


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_in_this_process_belongs_to_the_code_location_and_raises_nothing(fails: bool) -> None:
    @op
    def some_op() -> None:
        if fails:
            raise ValueError("it fails")

    @job(tags={"of": "the job"}, executor_def=in_process_executor)
    def some_job() -> None:
        some_op()

    run_id = str(uuid4())
    with DagsterInstance.ephemeral() as instance:
        dagster_internals.execute_in_location(
            instance, some_job, "the_location", run_id=run_id, tags={"a": "tag"}, run_config={}
        )
        # The timeline and the pages of jobs select runs by this tag.
        (run,) = instance.get_runs(RunsFilter(tags={".dagster/repository": "__repository__@the_location"}))

    assert run.run_id == run_id
    assert run.status is (DagsterRunStatus.FAILURE if fails else DagsterRunStatus.SUCCESS)
    assert run.tags.items() >= {"of": "the job", "a": "tag"}.items()
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.job_name == "some_job"


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


@op
def log_twice(context: OpExecutionContext) -> None:
    alone, together = (
        [
            AssetMaterialization(
                name, description=key, metadata={"number": 1}, partition=key, tags={DATA_VERSION_TAG: key}
            )
            for key in ("a", "b", "c")
        ]
        for name in ("alone", "together")
    )
    for materialization in alone:
        context.log_event(materialization)
    log_materializations(context, together)


@job
def logged_twice() -> None:
    log_twice()


@pytest.mark.parametrize("history", ["postgres", "sqlite"])
def test_materializations_logged_together_are_stored_as_dagster_stores_each(
    configured: World, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if history == "sqlite":
        monkeypatch.delenv("DAGSTER_DATABASE_URL")
    with DagsterInstance.get() as instance:
        assert logged_twice.execute_in_process(instance=instance).success
        alone, together = (
            (
                [
                    (m.description, m.metadata, m.partition, m.tags, record.event_log_entry.step_key)
                    for record in instance.fetch_materializations(AssetKey(name), limit=10).records
                    if (m := record.asset_materialization)
                ],
                instance.event_log_storage.get_latest_tags_by_partition(
                    AssetKey(name), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
                ),
                instance.get_materialized_partitions(AssetKey(name)),
            )
            for name in ("alone", "together")
        )
    assert alone == together
    assert len(together[0]) == 3


@op
def store_results(context: OpExecutionContext) -> None:
    context.instance.report_runless_asset_event(AssetMaterialization("some_asset", partition="a"))
    (record,) = context.instance.fetch_materializations(
        AssetRecordsFilter(AssetKey("some_asset")), limit=1
    ).records
    by_dagster, at_once = (
        [
            AssetCheckEvaluation(
                asset_key=AssetKey("some_asset"),
                check_name=check,
                passed=passed,
                partition=partition,
                severity=AssetCheckSeverity.WARN,
                description="a description",
                metadata={"number": 1},
                blocking=False,
                target_materialization_data=target_materialization(record),
            )
            for partition, passed in (("a", True), ("b", False))
        ]
        for check in ("by_dagster", "at_once")
    )
    for evaluation in by_dagster:
        context.log_event(evaluation)  # type: ignore[arg-type]  # accepted, and not declared
    store_check_evaluations(context.instance, at_once, context)


@job
def results() -> None:
    store_results()


@pytest.mark.parametrize("history", ["postgres", "sqlite"])
def test_results_stored_at_once_are_stored_as_dagster_stores_each(
    configured: World, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if history == "sqlite":
        monkeypatch.delenv("DAGSTER_DATABASE_URL")
    with DagsterInstance.get() as instance:
        run = results.execute_in_process(instance=instance)
        checks = {name: AssetCheckKey(AssetKey("some_asset"), name) for name in ("by_dagster", "at_once")}
        executions, infos = (
            {
                name: [
                    (r.status, r.partition, r.run_id, r.evaluation and replace(r.evaluation, check_name=""))
                    for r in instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
                ]
                for name, key in checks.items()
            },
            {
                name: sorted(
                    (i.partition_key, i.latest_execution_status, i.is_current)
                    for i in instance.event_log_storage.get_asset_check_partition_info([key])
                )
                for name, key in checks.items()
            },
        )
        logged = [
            (entry.step_key, entry.job_name, entry.get_dagster_event().asset_check_evaluation_data.check_name)
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
        ]

    assert executions["at_once"] == executions["by_dagster"]
    assert infos["at_once"] == infos["by_dagster"]
    assert len(executions["at_once"]) == 2
    assert logged == [
        ("store_results", "results", name) for name in ("by_dagster", "by_dagster", "at_once", "at_once")
    ]


def test_the_last_attempts_that_did_not_materialize_a_partition_are_known_by_their_run() -> None:
    days = StaticPartitionsDefinition(["good", "bad"])

    @asset(partitions_def=days)
    def some_asset(context: AssetExecutionContext) -> None:
        if context.partition_key == "bad":
            raise ValueError

    with DagsterInstance.ephemeral() as instance:
        for day in days.get_partition_keys():
            failed = materialize([some_asset], partition_key=day, instance=instance, raise_on_error=False)

        assert attempts_not_landed(instance, some_asset.key) == {"bad": failed.run_id}


@pytest.mark.parametrize("history", ["postgres", "sqlite"])
def test_runs_are_counted_as_dagster_counts_each_job_and_status(
    configured: World, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if history == "sqlite":
        monkeypatch.delenv("DAGSTER_DATABASE_URL")
    statuses = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED]
    with DagsterInstance.get() as instance:
        for number, each in enumerate([logged_twice, results], start=1):
            for status in number * statuses + [DagsterRunStatus.SUCCESS]:
                instance.create_run_for_job(each, status=status)
        counted = {
            (each.name, status): instance.get_runs_count(RunsFilter(job_name=each.name, statuses=[status]))
            for each in (logged_twice, results)
            for status in statuses
        }
        assert runs_by_job_and_status(instance) == counted
        assert sum(counted.values()) == 11
