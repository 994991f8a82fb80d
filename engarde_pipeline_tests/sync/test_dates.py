"""Rules 1 and 2: a date is replaced whole and at once, and every record is accounted for."""

from datetime import date
from decimal import Decimal

from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)


def test_a_new_row_is_inserted_with_its_run_and_its_ratios(world: World) -> None:
    tenant = world.tenant()
    campaign = world.campaign(tenant, "c1")
    world.load(
        [
            {
                "tenant_id": str(tenant),
                "campaign_id": "c1",
                "platform": "meta",
                "metric_date": DAY,
                "impressions": 1000,
                "clicks": 20,
                "spend": 10.5,
                "conversions": 4,
                "revenue": 42.0,
            }
        ]
    )

    synced = world.sync_one(DAY)

    assert vars(synced.merged.counts) == {
        "processed": 1,
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "deleted": 0,
        "source_rows": 1,
    }
    (row,) = world.rows()
    assert row["campaign_space_id"] == campaign
    assert (row["ctr"], row["cpc"], row["cpm"], row["roas"], row["conversion_rate"]) == (
        Decimal(2),
        Decimal("0.525"),
        Decimal("10.5"),
        Decimal(4),
        Decimal(20),
    )
