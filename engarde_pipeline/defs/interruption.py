"""SIGTERM and Ctrl-C while dates are synced: the run finishes the dates that it is at, and ends.

Dagster would interrupt the run at once, and dates that had just been committed would not be materialized. A run
that is being canceled ends as canceled. Any other run ends as failed, and the daemon retries it without the dates
that landed.

The retry of a run whose backfill was canceled ends before it syncs anything.

The daemon needs the code server for the retry, and gives it up for good if there is none. A code server that
received SIGTERM, too, waits for the processes of its runs, so the process of the run stays until it is retried.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dagster import DagsterExecutionInterruptedError, DagsterInstance, DagsterRun, DagsterRunStatus

from engarde_pipeline.dagster_internals import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG, canceled_backfill

SECONDS_TO_FINISH = 60
"""How long a date may take after SIGTERM; then the process ends, and the date is rolled back."""

SECONDS_TO_RETRY = 30
"""How long the process stays for the daemon to create the retry, which takes it a few seconds."""

_POLL_SECONDS = 0.5


@contextmanager
def stopping_between_dates(instance: DagsterInstance, run: DagsterRun) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether the run was asked to end; the caller then ends the block soon.

    Raises:
        DagsterExecutionInterruptedError: at the end of the block, if the run was asked to end; at its start, if
            the run is the retry of one whose backfill was canceled.
    """
    if backfill := canceled_backfill(instance, run):
        reason = f"The run retries a run of the backfill {backfill}, which was canceled. Nothing was synced."
        instance.report_run_canceling(run, reason)
        raise DagsterExecutionInterruptedError(reason)
    if threading.current_thread() is not threading.main_thread():  # it receives no signals
        yield lambda: False
        return
    received: list[int] = []
    left = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)  # nothing that locks: it interrupts whatever the main thread is doing

    def supervise() -> None:
        while not received and not left.wait(_POLL_SECONDS):
            pass
        if signal.SIGTERM in received:
            _end_in_time(instance, run.run_id, left)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        threading.Thread(target=supervise, name="interruption").start()  # the process does not end before it
        for number in handlers:
            signal.signal(number, handle)
        yield lambda: bool(received)
    finally:
        left.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            raise DagsterExecutionInterruptedError(
                f"The run was asked to end ({signal.Signals(received[0]).name}). Dates that landed are kept; the"
                " others are synced by a retry, unless the run was canceled."
            )


def _end_in_time(instance: DagsterInstance, run_id: str, left: threading.Event) -> None:
    """Stay until the run is retried; if its date does not end in time, end the run and its process."""
    # The run closes its instance before this thread ends.
    with DagsterInstance.from_ref(instance.get_ref()) as own:
        if left.wait(SECONDS_TO_FINISH):
            _wait_for_retry(own, run_id)
            return
        run = own.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            reason = (
                f"The run was asked to end (SIGTERM), and its date took more than {SECONDS_TO_FINISH} seconds."
            )
            if run.status is DagsterRunStatus.CANCELING:
                own.report_run_canceled(run, reason)
            else:
                own.report_run_failed(run, f"{reason} The date was rolled back.")
        _wait_for_retry(own, run_id)
    os._exit(1)


def _wait_for_retry(instance: DagsterInstance, run_id: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_RETRY
    while time.monotonic() < deadline:
        run = instance.get_run_by_id(run_id)
        if run is None or AUTO_RETRY_RUN_ID_TAG in run.tags or run.tags.get(WILL_RETRY_TAG) == "false":
            return
        if run.is_finished and run.status is not DagsterRunStatus.FAILURE:
            return
        time.sleep(_POLL_SECONDS)
