"""docs/monitoring.md has every metric and every panel, in the words of the code."""

from pathlib import Path

from prometheus_client.core import Metric

from engarde_pipeline.observability.catalogue import Counter, Gauge, Histogram, all_metrics
from engarde_pipeline.observability.request_metrics import RequestMetrics
from engarde_pipeline_tests.observability.test_dashboards import GENERATOR

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"

_API_LABELS = {"engarde_api_requests": ("method", "route", "status")}


def metric_row(metric: Gauge | Counter | Histogram) -> str:
    """The row of a metric in the table of the page."""
    return f"| `{metric.name}` | {', '.join(metric.labels)} | {metric.meaning} |"


def api_row(family: Metric) -> str:
    """The row of a metric of the API."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = _API_LABELS.get(family.name, ("method", "route"))
    return f"| `{name}` | {', '.join(labels)} | {family.documentation} |"


def panel_row(panel: object) -> str:
    """The row of a panel; the generator is not a module of the package, so it has no type here."""
    return f"| {panel.title} | {panel.description} |"  # type: ignore[attr-defined]


def test_the_page_has_every_metric_and_every_panel() -> None:
    lines = set(PAGE.read_text().splitlines())
    rows = [metric_row(metric) for metric in all_metrics()]
    rows += [api_row(family) for family in RequestMetrics().registry.collect()]
    rows += [panel_row(panel) for page in GENERATOR.PAGES for panel in GENERATOR.panels(page)]
    assert [row for row in rows if row not in lines] == []
