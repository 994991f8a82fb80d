"""Runs on several machines: the run launcher of dagster-celery, and the workers that execute the runs.

`deploy/run-launcher-celery.yaml` names the launcher. It adds to dagster-celery's what keeps runs from being lost:

* a cancelled run ends as canceled; dagster-celery only interrupts it, so that it ends as failed and is retried;
* run monitoring asks the workers which runs they execute, so that the run of a worker that was killed is noticed
within two minutes; dagster-celery asks a result store, in which such a run stays started;
* while redis cannot be reached, runs stay in Dagster's queue;
* a worker takes a run only when it can execute it. A run that it had reserved would be lost with it.
"""

import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import DagsterRun

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.dagster_internals import (
    CheckRunHealthResult,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
)
from engarde_pipeline.telemetry.logs import RedactingFormatter, is_json

try:
    import dagster_celery.launcher
    from celery.signals import setup_logging, worker_shutting_down
    from celery.utils.nodenames import gethostname, nodename
    from celery.worker import state
    from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
    from dagster_celery.tasks import create_execute_job_task, create_resume_job_task
    from kombu.exceptions import OperationalError
except ModuleNotFoundError as error:
    raise EngardeError(
        f"Runs on several machines need the package {error.name}, which is not installed. Run:"
        " pip install 'engarde-pipeline[distributed]'"
    ) from None

SILENCE = timedelta(seconds=60)
"""A run that no worker executes is lost when it has logged no event for this long.

Its worker may have lost its connection to redis for a moment, or has not reported the run yet.
"""

_ANSWER_SECONDS = 2
"""How long workers are given to answer. Their main processes answer, which execute no run."""

_PATIENT_SECONDS = 10
"""How long workers are given before a run is declared lost: machines can be overloaded."""

_VALID_SECONDS = 5

_CONFIG = {
    "worker_disable_prefetch": True,
    # Nothing reads the results of tasks: the outcome of a run is in Dagster's history.
    "task_ignore_result": True,
    # A worker that loses redis finishes its run, and connects again whenever redis is back.
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Runs print their own log.
    "worker_redirect_stdouts": False,
}


class CeleryRunLauncher(dagster_celery.launcher.CeleryRunLauncher):
    """Hands runs to the workers of `engarde worker`; the configuration is dagster-celery's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.celery.conf.update(_CONFIG)
        self._executed: set[str | None] = set()
        self._executed_until = 0.0

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to the workers, or leave it in Dagster's queue if redis cannot be reached."""
        try:
            super().launch_run(context)
        except OperationalError as error:
            raise DagsterUserCodeUnreachableError(
                f"redis, at the address of ENGARDE_BROKER_URL, cannot be reached: {error}"
            ) from error

    def terminate(self, run_id: str) -> bool:
        """Cancel a run: interrupt it, or keep the workers from starting it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        # Before anything is reported: it fails if redis cannot be reached.
        task = self._task_of(run, _ANSWER_SECONDS) or {}
        self._instance.report_run_canceling(run)
        task_ids = {task.get("id"), run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)} - {None}
        self.celery.control.revoke(list(task_ids), terminate=True)
        if not task:
            # There is nothing that could report it. A worker that takes it from redis later does not execute it.
            self._instance.report_run_canceled(run, "No worker executes the run.")
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether a worker executes a run that has started.

        Raises:
            OperationalError: redis cannot be reached, so that nothing is known of the run.
        """
        if self._was_recently_executed(run) or self._has_recent_event(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if self._task_of(run, _PATIENT_SECONDS):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"No worker executes the run, and it has logged nothing for {SILENCE.seconds} seconds: its worker was"
            " killed or has lost its connection to redis. Dates that landed are kept; a retry syncs the others.",
        )

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002  Dagster's signature
    ) -> str | None:
        """Return which worker executes a run, for the messages of run monitoring."""
        task = self._task_of(run, _ANSWER_SECONDS)
        return f"Executed by the worker {task['hostname']}, process {task['worker_pid']}." if task else None

    def slots(self, expected: int | None = None) -> dict[str, int]:
        """Return the workers that answer, and how many runs each can execute at the same time.

        It waits for all answers for two seconds, or only until `expected` workers have answered.

        Raises:
            OperationalError: redis cannot be reached.
        """
        try:
            answers = self.celery.control.inspect(timeout=_ANSWER_SECONDS, limit=expected).stats() or {}
        except self.celery.connection_for_read().recoverable_connection_errors as error:  # of an open connection
            raise OperationalError(str(error)) from error
        return {worker: stats["pool"]["max-concurrency"] for worker, stats in answers.items()}

    def run_worker(self, name: str, concurrency: int, queue: str | None) -> int:
        """Execute runs until SIGTERM; return the exit code.

        Each run has a process of its own, which is forked from this one with everything that is imported by now.
        """
        create_execute_job_task(self.celery)
        create_resume_job_task(self.celery)
        setup_logging.connect(_log)
        worker_shutting_down.connect(_interrupt_runs)
        worker = self.celery.Worker(
            hostname=nodename(name, gethostname()),
            concurrency=concurrency,
            queues=[queue or self.default_queue],
            pool="prefork",
            max_tasks_per_child=1,
            prefetch_multiplier=1,
            quiet=is_json(),  # without a banner
        )
        worker.start()
        return int(worker.exitcode or 0)

    def _was_recently_executed(self, run: DagsterRun) -> bool:
        # Monitoring checks all runs one after the other; the workers are asked once for all of them.
        now = time.monotonic()
        if now > self._executed_until:
            self._executed = {_run_id(task) for task in self._active_tasks(_ANSWER_SECONDS)}
            self._executed_until = time.monotonic() + _VALID_SECONDS
        return run.run_id in self._executed

    def _has_recent_event(self, run: DagsterRun) -> bool:
        (latest,) = self._instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
        return datetime.now(UTC) - datetime.fromtimestamp(latest.timestamp, UTC) < SILENCE

    def _task_of(self, run: DagsterRun, timeout: float) -> dict[str, Any] | None:
        """Return the task in which a worker executes a run.

        It is not found by the run's tag, which a retry copies from its parent.
        """
        return next((task for task in self._active_tasks(timeout) if _run_id(task) == run.run_id), None)

    def _active_tasks(self, timeout: float) -> list[dict[str, Any]]:
        answers = self.celery.control.inspect(timeout=timeout).active() or {}
        return [task for tasks in answers.values() for task in tasks]


def _run_id(task: dict[str, Any]) -> str | None:
    # Dagster stores the id of a run under this name.
    run_id = task["kwargs"].get("execute_job_args_packed", {}).get("pipeline_run_id")
    return str(run_id) if run_id else None


def _log(**_: Any) -> None:
    """Log what the worker does. Celery would also log what a run logs, which the run prints itself."""
    logger = logging.getLogger("celery")
    logger.setLevel(logging.INFO)
    if is_json():
        # To it, and not to the log, Celery writes that it shuts down; `_interrupt_runs` logs that. It can be None.
        sys.__stdout__ = None  # type: ignore[misc]
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(RedactingFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s")))
        logger.addHandler(handler)


def _interrupt_runs(**_: Any) -> None:
    """Interrupt the runs of this worker when it begins to shut down, so that it need not wait for their ends.

    A run that is interrupted and not cancelled is retried, without the dates that landed.
    """
    logging.getLogger("celery").info("The worker takes no more runs, and interrupts those that it executes.")
    for request in list(state.active_requests):
        if request.worker_pid:
            os.kill(request.worker_pid, signal.SIGTERM)
