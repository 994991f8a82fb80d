"""All imports from Dagster's private modules, each with the public API that is missing.

No other module imports from `dagster._...`. `test_dagster_internals` fails if a new version of Dagster changes
what is used here.

* The tags (`..._TAG`): Dagster documents their values but exports no constants.
* `HIDDEN_TAG_PREFIX`: tags that begin with it are not shown in the UI. Missing public API: a constant.
* `DagsterSqliteStorage`: the storage that Dagster uses if dagster.yaml names none. Missing public API: the class.
* `CheckError`: `DagsterInstance.get` raises it for some malformed dagster.yaml files, and it has no public base
class.
* `LaunchRunContext`, `CheckRunHealthResult`, `WorkerStatus`, `DagsterLaunchFailedError` and
`DagsterUserCodeUnreachableError`: what a run launcher is given, returns and raises. The daemon marks a run as
failed after the first error, and puts it back into the queue after the second. Missing public API: run launchers
of one's own.
* `AssetCheckExecutionsTable`, `SqlEventLogStorage`, `SqlEventLogStorageTable`, `SqliteEventLogStorage`: the tables
in which Dagster stores the results of checks. Missing public API: to store many results at once.
* `RunsTable`, `SqlRunStorage`: the table of runs. Missing public API: to count the runs of each job and status at
once.
* `AssetKeyTable`: the table of assets, whose columns are looked up together with those of all other tables.
* The rest is used by the functions below; their docstrings name the missing public API.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventLogEntry,
    EventLogRecord,
    JobDefinition,
    OpExecutionContext,
)
from dagster._check import CheckError as CheckError
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG as DATA_VERSION_TAG
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterLaunchFailedError as DagsterLaunchFailedError
from dagster._core.errors import DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError
from dagster._core.events import (
    DagsterEventBatchMetadata,
    JobFailureData,
    RunFailureReason,
    generate_event_batch_id,
)
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES as BULK_ACTION_TERMINAL_STATUSES
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher import LaunchRunContext as LaunchRunContext
from dagster._core.launcher import WorkerStatus as WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable
from dagster._core.storage.event_log.schema import AssetKeyTable as AssetKeyTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as SqlEventLogStorageTable
from dagster._core.storage.runs import SqlRunStorage as SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable as RunsTable
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as DagsterSqliteStorage
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as ASSET_PARTITION_RANGE_END_TAG
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as ASSET_PARTITION_RANGE_START_TAG
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG as AUTO_RETRY_RUN_ID_TAG
from dagster._core.storage.tags import BACKFILL_ID_TAG as BACKFILL_ID_TAG
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX as HIDDEN_TAG_PREFIX
from dagster._core.storage.tags import MAX_RETRIES_TAG as MAX_RETRIES_TAG
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_NAME_TAG
from dagster._core.storage.tags import PRIORITY_TAG as PRIORITY_TAG
from dagster._core.storage.tags import RETRY_NUMBER_TAG as RETRY_NUMBER_TAG
from dagster._core.storage.tags import ROOT_RUN_ID_TAG as ROOT_RUN_ID_TAG
from dagster._core.storage.tags import SCHEDULE_NAME_TAG as SCHEDULE_NAME_TAG
from dagster._core.storage.tags import SENSOR_NAME_TAG as SENSOR_NAME_TAG
from dagster._core.storage.tags import WILL_RETRY_TAG as WILL_RETRY_TAG
from sqlalchemy import func, literal, select, union_all

_CANCELED = (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)

ASSET_JOB = "__ASSET_JOB"
"""The job in which Dagster materializes selected assets. Missing public API: a constant."""

_REPOSITORY = "__repository__"
"""The name of the repository of a `Definitions` object."""

NO_MATERIALIZATIONS_AT_THE_END = {"__source_asset_observation__": True}
"""Output metadata that stops Dagster from logging materializations when a step ends.

When a step ends, Dagster materializes all partitions of its range: an asset cannot report which dates landed
(dagster issue 17836). Each date's materialization is logged when the date lands, so Dagster must not log another
one. Dagster uses this metadata for observable source assets, which log their events themselves.
"""

PLANNED = AssetCheckExecutionRecordStatus.PLANNED.value
"""The status of a check's result that a run is going to record."""


def is_of_ended_backfill(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether a run belongs to a backfill that starts no more runs: it has ended, or is being canceled.

    Missing public API: the statuses of a backfill.
    """
    if BACKFILL_ID_TAG not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[BACKFILL_ID_TAG])
    return backfill is None or backfill.status in (*BULK_ACTION_TERMINAL_STATUSES, *_CANCELED)


def canceled_backfill(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Return the id of the canceled backfill whose run is retried by `run`, or None.

    The daemon still retries the runs of a backfill that is being canceled, and takes the tag of the backfill from
    the retry. Nor does it cancel a retry that is starting. Missing public API: the statuses of a backfill.
    """
    if RETRY_NUMBER_TAG not in run.tags:
        return None
    failed = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    for of_backfill in (run, failed):
        if of_backfill and BACKFILL_ID_TAG in of_backfill.tags:
            backfill = instance.get_backfill(of_backfill.tags[BACKFILL_ID_TAG])
            if backfill and backfill.status in _CANCELED:
                return backfill.backfill_id
    return None


def attempts_not_landed(instance: DagsterInstance, asset: AssetKey) -> dict[str, str]:
    """Return the run that was last to materialize each partition, for the partitions that it has not materialized.

    Missing public API: `DagsterInstance.get_status_by_partition` says which partitions failed, but not in which
    run.
    """
    storage = instance.event_log_storage
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    return {partition: run_id for partition, (run_id, _) in attempts.items()}


def was_interrupted(instance: DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because its process was interrupted.

    Missing public API: the reason of a run failure.
    """
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    return any(_failure_reason(record) is RunFailureReason.UNEXPECTED_TERMINATION for record in records)


def _failure_reason(record: EventLogRecord) -> RunFailureReason | None:
    data = record.event_log_entry.get_dagster_event().event_specific_data
    return data.failure_reason if isinstance(data, JobFailureData) else None


def log_materializations(context: OpExecutionContext, materializations: Sequence[AssetMaterialization]) -> None:
    """Log materializations from a step; the storage stores them together, if it can.

    Missing public API: `log_event` stores each in two transactions.
    """
    batch = generate_event_batch_id()  # type: ignore[no-untyped-call]
    for number, materialization in enumerate(materializations, start=1):
        DagsterEvent.asset_materialization(  # logs the event
            context.get_step_execution_context(),
            materialization,
            DagsterEventBatchMetadata(batch, is_end=number == len(materializations)),
        )


def target_materialization(record: EventLogRecord) -> AssetCheckEvaluationTargetMaterializationData:
    """Return the reference to a materialization that the result of a check carries.

    Dagster shows a result until its date is materialized again; without the reference it would show none. Missing
    public API: the class.
    """
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )


def store_check_evaluations(
    instance: DagsterInstance,
    evaluations: Sequence[AssetCheckEvaluation],
    context: OpExecutionContext | None = None,
) -> list[DagsterEvent]:
    """Store results of an asset's checks for many partitions, as events of a step or of no run; return the events.

    Each check has a result for each partition. They replace the planned results of the run's partitions. Missing
    public API:

    * results of single partitions of a step: `AssetCheckResult` has the partition of the step, if it has only one;
    * storing many at once: Dagster stores each in two transactions, which takes as long as syncing a small date;
    * a second result of no run for a partition: `report_runless_asset_event` violates a unique index.
    """
    run_id, job_name, step_key = RUNLESS_RUN_ID, RUNLESS_JOB_NAME, None
    if context:
        step_key = context.get_step_execution_context().step.key
        run_id, job_name = context.run_id, context.job_name
    events = [
        DagsterEvent(
            DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name,
            event_specific_data=evaluation,
            step_key=step_key,
            message=f"Asset check '{evaluation.check_name}' on '{evaluation.asset_key.to_user_string()}'"
            f" {'passed' if evaluation.passed else 'did not pass'} for {evaluation.partition}.",
        )
        for evaluation in evaluations
    ]
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        for event in events:
            instance.report_dagster_event(event, run_id)
    elif events:
        _store_at_once(storage, run_id, events)
    return events


def _store_at_once(storage: SqlEventLogStorage, run_id: str, events: Sequence[DagsterEvent]) -> None:
    entries = [
        EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level=logging.INFO,
            user_message="",
            run_id=run_id,
            timestamp=time.time(),
            step_key=event.step_key,
            job_name=event.job_name,
            dagster_event=event,
        )
        for event in events
    ]
    # Each event is serialized once, for both tables. The statement is compiled once for all rows, while that of
    # `prepare_insert_event_batch` has each value of each row compiled.
    rows = [storage._event_to_row(entry) for entry in entries]
    insert = SqlEventLogStorageTable.insert()
    if isinstance(storage, SqliteEventLogStorage):  # has a database for each run beside the one for all
        with storage.run_connection(run_id) as connection:
            connection.execute(insert, rows)
    table = AssetCheckExecutionsTable
    results = [event.asset_check_evaluation_data for event in events]
    with storage.index_transaction() as connection:
        ids = sorted(connection.execute(insert.returning(SqlEventLogStorageTable.c.id), rows).scalars())
        connection.execute(
            table.delete().where(
                table.c.run_id == run_id,
                table.c.asset_key == results[0].asset_key.to_string(),
                table.c.check_name.in_({result.check_name for result in results}),
                table.c.partition.in_({result.partition for result in results})
                | (table.c.partition.is_(None) & (table.c.execution_status == PLANNED)),
            )
        )
        connection.execute(
            table.insert(),
            [_execution(entry, row, event_id) for entry, row, event_id in zip(entries, rows, ids, strict=True)],
        )


def _execution(entry: EventLogEntry, row: Mapping[str, object], event_id: int) -> dict[str, object]:
    evaluation = entry.get_dagster_event().asset_check_evaluation_data
    status = AssetCheckExecutionRecordStatus
    target = evaluation.target_materialization_data
    return {
        "asset_key": evaluation.asset_key.to_string(),
        "check_name": evaluation.check_name,
        "partition": evaluation.partition,
        "run_id": entry.run_id,
        "execution_status": (status.SUCCEEDED if evaluation.passed else status.FAILED).value,
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": event_id,
        "materialization_event_storage_id": target.storage_id if target else None,
    }


def forget_planned_checks(instance: DagsterInstance, *run_ids: str) -> None:
    """Remove the planned results of runs that will not evaluate their checks.

    Otherwise Dagster would show its partitions as skipped, instead of with their last results. Missing public API:
    a run that decides while it runs that it evaluates no checks.
    """
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        table = AssetCheckExecutionsTable
        with storage.index_transaction() as connection:
            connection.execute(
                table.delete().where(table.c.run_id.in_(run_ids), table.c.execution_status == PLANNED)
            )


def runs_by_job_and_status(instance: DagsterInstance) -> dict[tuple[str, DagsterRunStatus], int]:
    """Return the number of runs of each job and status, in one statement.

    Almost all runs have succeeded, and no index has both columns. So the successful ones are what is left of all
    runs of a job, which are counted in the index of jobs without reading the runs. Missing public API:
    `DagsterInstance.get_runs_count` reads all runs of one job and status.
    """
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        raise TypeError(f"{type(storage).__name__} is no storage of Dagster's in a SQL database")
    job, status, number = RunsTable.c.pipeline_name, RunsTable.c.status, func.count()
    others = [each.value for each in DagsterRunStatus if each is not DagsterRunStatus.SUCCESS]
    all_runs = select(job, literal(DagsterRunStatus.SUCCESS.value), number).group_by(job)
    of_others = select(job, status, number).where(status.in_(others)).group_by(job, status)
    counts: Counter[tuple[str, DagsterRunStatus]] = Counter()
    with storage.connect() as connection:
        for name, value, runs in connection.execute(union_all(all_runs, of_others)):
            counts[name, DagsterRunStatus(value)] += runs
            if value in others:
                counts[name, DagsterRunStatus.SUCCESS] -= runs
    return dict(counts)


def execute_in_location(
    instance: DagsterInstance,
    job: JobDefinition,
    location: str,
    *,
    run_id: str,
    tags: Mapping[str, str],
    run_config: Mapping[str, object],
) -> None:
    """Run a job with the in-process executor as a run of `location`; its failure raises no exception.

    Missing public API: `execute_in_process` creates runs without an origin, which the UI shows neither on the
    timeline nor on the page of their job.
    """
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), _REPOSITORY)
    run = instance.create_run_for_job(
        job_def=job,
        run_id=run_id,
        tags={**job.run_tags, **tags},
        run_config=run_config,
        remote_job_origin=repository.get_job_origin(job.name),
    )
    for _ in execute_run_iterator(InMemoryJob(job), run, instance):
        pass
