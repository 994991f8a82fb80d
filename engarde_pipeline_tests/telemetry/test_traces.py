"""Traces: switched on by the standard variables, and without cost otherwise."""

import os
import subprocess
import sys

import pytest

from engarde_pipeline_tests.conftest import NAMED_SERVERS
from engarde_pipeline_tests.telemetry.collector import running_collector

ALL_PROCESSES = """
import sys
import engarde_pipeline.api.app, engarde_pipeline.cli, engarde_pipeline.definitions
from engarde_pipeline.telemetry.spans import continued_trace, span, trace_parent
with continued_trace(None), span("run"), span("merge", table="campaign_metrics"):
    parent = trace_parent()
print(parent, *(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
"""


def _run(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ALL_PROCESSES],
        env={**os.environ, **NAMED_SERVERS, **variables},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    "disabled", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_is_imported_for_traces_that_are_off(disabled: dict[str, str]) -> None:
    assert _run(**disabled).stdout.split() == ["None"]


def test_spans_are_exported_when_a_run_ends_with_their_parents() -> None:
    with running_collector() as collector:
        done = _run(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="syncs")

    merge, run = collector.spans
    assert (merge.name, run.name, merge.parent_id, run.parent_id) == ("merge", "run", run.span_id, "")
    assert (merge.service, merge.attributes) == ("syncs", {"engarde.table": "campaign_metrics"})
    assert done.stdout.startswith(f"00-{merge.trace_id}-{merge.span_id}-")


def test_a_collector_that_does_not_respond_changes_nothing_for_a_run() -> None:
    done = _run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1")

    assert done.returncode == 0
    assert done.stdout.startswith("00-")
