"""The pages over real HTTP, and a person who looks at them."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from dagster import DagsterInstance

from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.web.visitor import Visitor
from engarde_pipeline_tests.world import World


@pytest.fixture
def service(configured: World, instance: DagsterInstance) -> Iterator[Service]:
    """The API and its pages, without Dagster's webserver."""
    with serving(settings(configured.database_url, api_rate_limit="1000000/minute"), instance) as running:
        yield running


@pytest.fixture
def tenant(configured: World) -> UUID:
    """The tenant that the visitor sees."""
    return configured.tenant()


@pytest.fixture
def visitor(service: Service, tenant: UUID) -> Visitor:
    """A person with a session of the tenant."""
    return Visitor(service, tenant)
