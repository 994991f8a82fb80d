"""The tenants and campaigns of the benchmark, the same on every machine."""

from dataclasses import dataclass
from functools import cached_property
from uuid import NAMESPACE_DNS, UUID, uuid5

import psycopg
import pyarrow as pa

PLATFORMS = ("meta", "google", "tiktok", "linkedin")


@dataclass(frozen=True)
class Portfolio:
    """`campaigns` campaigns spread evenly over `tenants` tenants and the platforms."""

    tenants: int
    campaigns: int

    @cached_property
    def tenant_ids(self) -> list[UUID]:
        """Each tenant's id: as random as the application's own."""
        return [uuid5(NAMESPACE_DNS, f"tenant {n}") for n in range(self.tenants)]

    @cached_property
    def campaign_space_ids(self) -> list[UUID]:
        """Each campaign space's id."""
        return [uuid5(NAMESPACE_DNS, f"campaign {n}") for n in range(self.campaigns)]

    def tenant_of(self, campaign: int) -> UUID:
        """Return the id of the campaign's tenant."""
        return self.tenant_ids[campaign % self.tenants]

    @staticmethod
    def platform_of(campaign: int) -> str:
        """Return the campaign's ad platform."""
        return PLATFORMS[campaign // 3 % len(PLATFORMS)]

    @staticmethod
    def external_id_of(campaign: int) -> str:
        """Return the campaign's id on the ad platform, as long as the platforms make them."""
        return str(120_200_000_000_000_000 + 7_919 * campaign)

    @cached_property
    def keys(self) -> dict[str, pa.Array]:
        """The key columns of a date's source rows, one row per campaign."""
        numbers = range(self.campaigns)
        return {
            "tenant_id": pa.array([str(self.tenant_of(n)) for n in numbers], pa.string()),
            "campaign_id": pa.array([self.external_id_of(n) for n in numbers], pa.string()),
            "platform": pa.array([self.platform_of(n) for n in numbers], pa.string()),
        }


def seed(connection: psycopg.Connection, portfolio: Portfolio) -> None:
    """Add the tenants and campaign spaces to a migrated database."""
    cursor = connection.cursor()
    with cursor.copy("COPY tenants (id, name) FROM STDIN") as copy:
        for n, tenant_id in enumerate(portfolio.tenant_ids):
            copy.write_row((tenant_id, f"Tenant {n}"))
    columns = "id, tenant_id, name, platform, external_campaign_id"
    with cursor.copy(f"COPY campaign_spaces ({columns}) FROM STDIN".encode()) as copy:
        for n, campaign_space_id in enumerate(portfolio.campaign_space_ids):
            copy.write_row(
                (
                    campaign_space_id,
                    portfolio.tenant_of(n),
                    f"Campaign {n}",
                    portfolio.platform_of(n),
                    portfolio.external_id_of(n),
                )
            )
    connection.execute("VACUUM (ANALYZE) tenants, campaign_spaces")
