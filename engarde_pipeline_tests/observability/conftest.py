"""Scrapes of the exporter, as Prometheus makes them."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import pytest
from dagster import DagsterInstance
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from engarde_pipeline.observability.collector import PartsCollector
from engarde_pipeline.observability.parts import parts
from engarde_pipeline.observability.server import create_app
from engarde_pipeline.settings import load_exporter_settings

Samples: TypeAlias = Mapping[str, Mapping[tuple[str, ...], float]]
"""The value for each name and combination of label values."""


def samples_of(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Read what an exporter answers."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@pytest.fixture
def exporter(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The exporter of the configured world, whose webserver does not run."""
    monkeypatch.setenv("ENGARDE_WEBSERVER_URL", "http://127.0.0.1:9")
    with TestClient(create_app(PartsCollector(parts(load_exporter_settings(), instance)))) as client:
        yield client


@pytest.fixture
def scrape(exporter: TestClient) -> Callable[[], Samples]:
    """`scrape()` returns the samples."""
    return lambda: samples_of(exporter.get("/metrics").raise_for_status().text)
