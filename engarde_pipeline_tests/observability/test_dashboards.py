"""The dashboards are those of the generator, and show metrics that the exporter and the API have."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from engarde_pipeline.observability.request_metrics import RequestMetrics

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "deploy" / "grafana" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()
FILES = sorted(DASHBOARDS.glob("*.json"))


def _expressions() -> list[str]:
    return [
        expression
        for page in GENERATOR.PAGES
        for panel in GENERATOR.panels(page)
        for expression in panel.queries.values()
    ]


def test_the_committed_dashboards_are_those_of_the_generator() -> None:
    generated = {f"{page.name}.json": GENERATOR.document(page) for page in GENERATOR.PAGES}
    assert {file.name: file.read_text() for file in FILES} == generated, "run `make dashboards`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_grafanas_types_read_a_dashboard_without_loss(file: Path) -> None:
    document = json.loads(file.read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document)))
    assert again == document
    shown = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert all(panel["description"] and panel["targets"] for panel in shown)
    places = [tuple(panel["gridPos"][side] for side in ("x", "y")) for panel in document["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in document["panels"])


def _metrics(expression: promql_parser.Expr) -> set[str]:
    """The names of the metrics that an expression reads."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.add(str(selector.name))

    promql_parser.walk(expression, visit)
    return found


def test_every_expression_parses_and_its_metrics_are_in_a_scrape(exporter: TestClient) -> None:
    text = exporter.get("/metrics").text + generate_latest(RequestMetrics().registry).decode()
    scraped = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    scraped |= {
        f"{family.name}_bucket" for family in text_string_to_metric_families(text) if family.type == "histogram"
    }
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    recorded = {rule["record"]: rule["expr"] for group in rules for rule in group["rules"] if "record" in rule}
    for expression in [*_expressions(), *recorded.values()]:
        used = _metrics(promql_parser.parse(expression))
        assert used, expression
        assert used <= scraped | recorded.keys() | {"up"}, expression
