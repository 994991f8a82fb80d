"""Fixtures: a BigQuery whose partitions have times."""

from collections.abc import Iterator

import pytest

from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline_tests.bigquery.faulty import Proxy, rest_proxy
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.world import World


@pytest.fixture
def proxy(emulator: Emulator) -> Iterator[Proxy]:
    with rest_proxy(emulator.rest_url) as running:
        yield running


@pytest.fixture
def times(configured: World, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Times:
    """The configured dataset behind a proxy that gives its partitions times."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
    return Times(proxy, configured.dataset)
