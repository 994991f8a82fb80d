"""Fixtures: ways to read the world's dataset, and proxies that make faults in front of it."""

from collections.abc import Iterator

import pytest

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline_tests.bigquery.faulty import Proxy, StorageProxy, rest_proxy, storage_proxy
from engarde_pipeline_tests.world import World


@pytest.fixture
def query_source(world: World) -> Iterator[Source]:
    """The world's dataset where no Storage Read API is to be had."""
    source = Source(world.settings.model_copy(update={"bigquery_storage_emulator_host": None}))
    yield source
    source.client.close()


@pytest.fixture
def proxy(emulator: Emulator) -> Iterator[Proxy]:
    with rest_proxy(emulator.rest_url) as running:
        yield running


@pytest.fixture
def faulty_source(world: World, proxy: Proxy) -> Iterator[Source]:
    """The world's dataset behind the proxy, read by queries."""
    source = Source(
        world.settings.model_copy(
            update={"bigquery_emulator_host": proxy.url, "bigquery_storage_emulator_host": None}
        )
    )
    yield source
    source.client.close()


@pytest.fixture
def storage(emulator: Emulator) -> Iterator[StorageProxy]:
    with storage_proxy(emulator.grpc_address) as running:
        yield running


@pytest.fixture
def faulty_storage_source(world: World, storage: StorageProxy) -> Iterator[Source]:
    """The world's dataset with the proxy in front of its Storage Read API."""
    source = Source(world.settings.model_copy(update={"bigquery_storage_emulator_host": storage.address}))
    yield source
    source.client.close()
