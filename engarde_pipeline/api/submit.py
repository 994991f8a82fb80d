"""Starting a sync: a run is recorded and queued, and Dagster's daemon takes it from there.

Nothing is loaded per request and no webserver is needed: the jobs are loaded once, and the run carries the name of
the code location, by which the daemon finds it.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from dagster import DagsterInstance, JobDefinition, RunsFilter
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.origin import JobPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PRIORITY_TAG,
    REPOSITORY_LABEL_TAG,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.core.dates import InvalidDates, dates_between, latest_date, today
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.defs.landing import PROVISIONAL_DAYS
from engarde_pipeline.defs.sensors.changed_dates import changed_dates
from engarde_pipeline.runs.job_log import (
    JOB_TYPE,
    SLICE_JOB,
    TRIGGER,
    USER,
    SyncJob,
    get_job,
    in_progress,
    last_completed,
)
from engarde_pipeline.runs.tags import TENANT

CODE_LOCATION = "engarde_pipeline"
"""The name of the code location in workspace.yaml."""

MODULE = "engarde_pipeline.definitions"
WHOLE_DATES_JOB = "performance_sync"

MOST_UNFINISHED = 10
"""Syncs of a tenant that the API has started and that have not ended."""

_IDEMPOTENCY_KEY = "engarde/idempotency_key"
_REQUEST = "engarde/request"
_DAEMON = "QUEUED_RUN_COORDINATOR"
_HEARTBEAT_SECONDS = 180
"""The daemon's heart beats every 30 seconds."""


@dataclass(frozen=True)
class Asked:
    """A sync that was asked for. `tenant_id` is None for all tenants; dates that are None are chosen here."""

    tenant_id: UUID | None
    start_date: date | None
    end_date: date | None
    campaign_space_ids: tuple[UUID, ...]
    platform: str | None
    allow_shrink: bool
    caller_tenant_id: UUID
    user_id: str | None
    idempotency_key: str | None

    @property
    def digest(self) -> str:
        """What was asked for, to tell whether a repeated request is the same."""
        return _digest(
            self.tenant_id,
            self.start_date,
            self.end_date,
            self.campaign_space_ids,
            self.platform,
            self.allow_shrink,
        )


class Launcher:
    """Starts syncs on an instance. `launches` sees to it that only one at a time calls `start`."""

    def __init__(self) -> None:
        from engarde_pipeline.definitions import defs

        self._jobs = {name: defs.resolve_job_def(name) for name in (SLICE_JOB, WHOLE_DATES_JOB)}

    def start(self, instance: DagsterInstance, asked: Asked) -> SyncJob:
        """Queue a run for what was asked, or return the one that an equal request with this key has started.

        Raises:
            Problem: 409, a sync over these dates is running; 422, the dates cannot be synced, or the key was used
                for something else; 429, too many of the tenant's syncs have not ended; 503, nobody would start the
                run.
        """
        if earlier := _started_before(instance, asked):
            return earlier
        start, end = _dates(instance, asked)
        unfinished = in_progress(instance, str(asked.tenant_id) if asked.tenant_id else None)
        _check_nothing_runs(unfinished, start, end)
        ahead = _check_how_many(unfinished, asked)
        _check_daemon(instance)
        job, run_config, tags = self._run(asked, start, end)
        # A tenant's second sync waits for the first of every other tenant.
        tags[PRIORITY_TAG] = str(-ahead)
        origin = job_origin(job.name, code_location(instance))
        run = instance.create_run_for_job(
            job_def=job,
            run_config=run_config,
            tags={**job.run_tags, **tags, REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()},
            remote_job_origin=origin,
            job_code_origin=_code_origin(job.name),
        )
        try:
            instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
        except Exception:
            # Nothing would ever start or end it, while it kept others from its dates.
            instance.delete_run(run.run_id)
            raise
        return _job(instance, run.run_id)

    def _run(
        self, asked: Asked, start: date, end: date
    ) -> tuple[JobDefinition, Mapping[str, Any], dict[str, str]]:
        tags = {
            TRIGGER: "api",
            **({TENANT: str(asked.tenant_id)} if asked.tenant_id else {}),
            **({USER: asked.user_id} if asked.user_id else {}),
            **({JOB_TYPE: "incremental_sync"} if asked.start_date is None else {}),
            **({_IDEMPOTENCY_KEY: _key(asked), _REQUEST: asked.digest} if asked.idempotency_key else {}),
        }
        if asked.tenant_id is None:
            range_tags = {
                ASSET_PARTITION_RANGE_START_TAG: start.isoformat(),
                ASSET_PARTITION_RANGE_END_TAG: end.isoformat(),
            }
            options = {"config": {"allow_shrink": asked.allow_shrink}}
            run_config = {"ops": {table.target: options for table in (CAMPAIGN_METRICS, ASSET_METRICS)}}
            return self._jobs[WHOLE_DATES_JOB], run_config, {**tags, **range_tags}
        config = {
            "start": start.isoformat(),
            "end": end.isoformat(),
            "tenant": str(asked.tenant_id),
            "platforms": [asked.platform] if asked.platform else [],
            "campaigns": [str(campaign) for campaign in asked.campaign_space_ids],
            "allow_shrink": asked.allow_shrink,
        }
        return self._jobs[SLICE_JOB], {"ops": {"sync_the_slice": {"config": config}}}, tags


def code_location(instance: DagsterInstance) -> str:
    """Return the name of the code location that the daemon has loaded.

    It depends on how the daemon was started: with `-m` it is the module's name, and not the one in workspace.yaml.
    The daemon stores it with the state of a sensor.
    """
    states = [
        state
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if state.instigator_name == changed_dates.name
    ]
    if not states:
        return CODE_LOCATION  # the daemon has just been started for the first time
    latest = max(states, key=_last_tick)
    return str(latest.origin.repository_origin.code_location_origin.location_name)


def _last_tick(state: InstigatorState) -> float:
    data = state.instigator_data
    return (data.last_tick_timestamp or 0) if isinstance(data, SensorInstigatorData) else 0


def job_origin(job_name: str, location_name: str = CODE_LOCATION) -> RemoteJobOrigin:
    """Return where the daemon finds a job."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=MODULE), location_name)
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job_name)


def _code_origin(job_name: str) -> JobPythonOrigin:
    repository = ReconstructableRepository.for_module(MODULE, "defs")
    return repository.get_reconstructable_job(job_name).get_python_origin()


def _started_before(instance: DagsterInstance, asked: Asked) -> SyncJob | None:
    if asked.idempotency_key is None:
        return None
    runs = instance.get_runs(RunsFilter(tags={_IDEMPOTENCY_KEY: _key(asked)}))
    if not runs:
        return None
    first = runs[-1]  # its retries bear the key, too
    if first.tags[_REQUEST] != asked.digest:
        raise invalid("Idempotency-Key", "was used for another request; use a new key")
    return _job(instance, first.run_id)


def _dates(instance: DagsterInstance, asked: Asked) -> tuple[date, date]:
    end = asked.end_date or latest_date()
    start = asked.start_date
    if start is None:
        oldest = date.fromordinal(max(1, min(end, today()).toordinal() - PROVISIONAL_DAYS + 1))
        tenant_id = str(asked.tenant_id) if asked.tenant_id else None
        last = last_completed(instance, tenant_id, of_all_campaigns=True)
        if last and last.end_date:
            # Dates that were not over when they were synced are synced again.
            start = min(end, max(oldest, min(last.end_date, today(last.started_at))))
        else:
            start = oldest
    try:
        dates_between(start, end)
    except InvalidDates as error:
        is_about_the_end = asked.end_date is not None and (end < start or end > latest_date())
        field = "end_date" if is_about_the_end else "start_date"
        raise invalid(field, str(error)) from None
    return start, end


def _check_nothing_runs(unfinished: Sequence[SyncJob], start: date, end: date) -> None:
    for job in unfinished:
        # A job without dates is about to fail for that.
        if job.start_date and job.end_date and job.start_date <= end and start <= job.end_date:
            raise Problem(
                409,
                f"A sync of {job.start_date} to {job.end_date} is {job.status}; wait for it to end.",
                job_id=job.id,
            )


def _check_how_many(unfinished: Sequence[SyncJob], asked: Asked) -> int:
    """Return how many of the unfinished syncs the API has started for this tenant, or for all of them."""
    tenant_id = str(asked.tenant_id) if asked.tenant_id else None
    ahead = sum(job.triggered_by == "api" and job.tenant_id == tenant_id for job in unfinished)
    if ahead >= MOST_UNFINISHED:
        raise Problem(
            429,
            f"{ahead} syncs that were started here have not ended yet, which is as many as may wait; wait for one"
            " of them to end, or ask for more dates at once.",
            {"Retry-After": "30"},
        )
    return ahead


def _check_daemon(instance: DagsterInstance) -> None:
    heartbeat = instance.get_daemon_heartbeats().get(_DAEMON)
    if heartbeat is None or heartbeat.timestamp < time.time() - _HEARTBEAT_SECONDS:
        raise Problem(
            503,
            "Dagster's daemon is not running, so the sync would not start; `engarde dev` or `dagster-daemon run`"
            " starts it.",
            {"Retry-After": "30"},
        )


def _job(instance: DagsterInstance, run_id: str) -> SyncJob:
    job = get_job(instance, run_id)
    assert job is not None  # noqa: S101  it was found or made above
    return job


def _key(asked: Asked) -> str:
    return _digest(asked.caller_tenant_id, asked.idempotency_key)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
