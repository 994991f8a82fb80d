"""What all log lines and spans of a run have in common."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterRun

from engarde_pipeline.runs.tags import DATES, REQUEST_ID, TENANT
from engarde_pipeline.telemetry.logs import log_context
from engarde_pipeline.telemetry.spans import TRACE_PARENT, continued_trace, span, trace_parent


@contextmanager
def observed_run(run: DagsterRun) -> Iterator[None]:
    """Make the block a span in the trace of the request that started the run; log lines say which run it is."""
    fields = {"run_id": run.run_id, "job": run.job_name, "tenant": run.tags.get(TENANT)}
    with (
        log_context(**fields, request_id=run.tags.get(REQUEST_ID)),
        continued_trace(run.tags.get(TRACE_PARENT)),
        span("run", run_id=run.run_id, job=run.job_name, dates=run.tags.get(DATES, "")),
    ):
        yield


def origin_tags(request_id: str | None) -> dict[str, str]:
    """Return the tags by which a run, and its retries, belong to a request and to the current trace."""
    tags = {REQUEST_ID: request_id, TRACE_PARENT: trace_parent()}
    return {name: value for name, value in tags.items() if value}
