"""The least a sync needs: a tenant with one connected campaign, `c1` on meta, that has one asset, `a1`."""

from uuid import UUID

import pytest

from engarde_pipeline_tests.world import World


@pytest.fixture
def tenant(world: World) -> UUID:
    return world.tenant()


@pytest.fixture
def campaign(world: World, tenant: UUID) -> UUID:
    return world.campaign(tenant, "c1")


@pytest.fixture
def asset(world: World, campaign: UUID) -> UUID:
    return world.asset(campaign, "a1")
