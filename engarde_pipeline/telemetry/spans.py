"""Spans: what a process does, how long it takes, and for what; logged as JSON and exported as traces.

`span` is used on every layer. It costs next to nothing unless JSON logs or traces are switched on. Only
traces import opentelemetry.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

logger = logging.getLogger(__name__)

# Not below `engarde_pipeline`, whose messages Dagster stores in the history of the run.
_span_logger = logging.getLogger("engarde.spans")

TRACE_PARENT = "traceparent"
"""The name of the W3C header and run tag with the trace to continue."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MILLISECONDS = 5_000

_tracer: "Tracer | None" = None


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
    """Log how long the block takes, and trace it; the block can add to the attributes that are yielded."""
    started = time.perf_counter()
    traced = _tracer.start_as_current_span(name, record_exception=True) if _tracer else nullcontext()
    with traced as current:
        try:
            yield attributes
        except BaseException as error:
            attributes["error"] = type(error).__name__
            raise
        finally:
            if current is not None:
                current.set_attributes({f"engarde.{key}": _attribute(value) for key, value in attributes.items()})
            _span_logger.info(
                "%s",
                name,
                extra={"duration_seconds": round(time.perf_counter() - started, 6), **trace_ids(), **attributes},
            )


def configure_traces(service: str) -> None:
    """Switch traces on if OTEL_EXPORTER_OTLP_ENDPOINT is set; the standard variables configure the exporter."""
    global _tracer
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if _tracer or is_disabled or not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        logger.warning(
            "No traces are exported, although OTEL_EXPORTER_OTLP_ENDPOINT is set: the package %s is not installed."
            " Run: pip install 'engarde-pipeline[otel]'",
            error.name,
        )
        return
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _tracer = provider.get_tracer("engarde_pipeline")


def trace_parent() -> str | None:
    """Return the current span as the value of the header `traceparent`; None if there is none."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACE_PARENT)


@contextmanager
def continued_trace(parent: str | None) -> Iterator[None]:
    """Make the spans within the block part of the trace of `parent`, and export them at its end."""
    if _tracer is None:
        yield
        return
    from opentelemetry import context, trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract({TRACE_PARENT: parent} if parent else {}))
    try:
        yield
    finally:
        context.detach(token)
        # The process of a run ends without the hooks that would export the last spans.
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.force_flush(_FLUSH_MILLISECONDS)


def trace_ids() -> dict[str, str]:
    """Return the ids of the current trace and span, for the log."""
    if _tracer is None:
        return {}
    from opentelemetry import trace

    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return {}
    return {"trace_id": f"{current.trace_id:032x}", "span_id": f"{current.span_id:016x}"}


def _attribute(value: object) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else str(value)
