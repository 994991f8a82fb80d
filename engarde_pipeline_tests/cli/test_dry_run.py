"""`engarde sync --dry-run` shows what a sync would cost and change; its exit code says whether all would land."""

from datetime import timedelta
from uuid import UUID

import pytest

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.world import ASSET_METRICS, World

DAY = today() - timedelta(days=2)
NEXT = DAY + timedelta(days=1)
RANGE = ("--start", DAY, "--end", NEXT)


@pytest.fixture
def tenant(configured: World) -> UUID:
    """A tenant with the campaign c1, whose numbers for two dates are in BigQuery, with an unmapped campaign."""
    tenant = configured.tenant()
    configured.campaign(tenant, "c1")
    row = {"tenant_id": str(tenant), "platform": "meta", "impressions": 1, "spend": 1_234.5, "revenue": 99.0}
    configured.load([{**row, "campaign_id": "c1", "metric_date": day} for day in (DAY, NEXT)])
    configured.load([{**row, "campaign_id": "c9", "metric_date": DAY}])
    return tenant


def test_the_cost_comes_first_then_what_would_change(engarde: Engarde, configured: World, tenant: UUID) -> None:
    configured.create_source(ASSET_METRICS)
    before = configured.everything()

    said = engarde("sync", *RANGE, "--dry-run")

    assert said.code == 0
    assert configured.everything() == before
    assert said.out.index("BigQuery would bill") < said.out.index("largest changes")
    assert "for campaign_metrics (storage_read_api)" in said.words
    for part in (
        f"{DAY} 1 0 0 0 1 0.00 0.00 1,234.50 99.00",  # each amount before, and in the next line after
        f"{NEXT} 1 0 0 0 0 0.00 0.00 1,234.50 99.00",
        f"campaign_metrics {DAY}: largest changes",
        "c1 meta 0.00 1,234.50 0.00 99.00",
        f"{DAY} rejected: campaign_not_mapped",
        "succeeded",
    ):
        assert part in said.words, part

    assert engarde("sync", *RANGE).code == 0
    assert "largest changes" not in engarde("sync", *RANGE, "--dry-run").words  # nothing would change any more


def test_sums_are_shown_by_currency(engarde: Engarde, configured: World) -> None:
    tenant = configured.tenant()
    configured.create_source(currency="STRING")
    for name, currency, spend in (("c1", "EUR", 1_234.5), ("c2", "USD", 20.0), ("c3", None, 3.0)):
        configured.campaign(tenant, name)
        row = {"tenant_id": str(tenant), "platform": "meta", "campaign_id": name, "metric_date": DAY}
        configured.load([{**row, "spend": spend, "revenue": 2 * spend, "currency": currency}])

    dry = engarde("sync", "--start", DAY, "--end", DAY, "--dry-run", width=150).words

    for part in (
        f"{DAY} 3 0 0 0 0 0.00 0.00 3.00 6.00 0.00 0.00 EUR 1,234.50 2,469.00 0.00 0.00 USD 20.00 40.00",
        "c1 meta EUR 0.00 1,234.50 0.00 2,469.00",
        "c2 meta USD 0.00 20.00 0.00 40.00",
        "c3 meta 0.00 3.00 0.00 6.00",
    ):
        assert part in dry, part

    assert engarde("sync", "--start", DAY, "--end", DAY).code == 0
    status = engarde("status", width=150).words
    assert " 3.00 6.00 1,234.50 EUR 2,469.00 EUR 20.00 USD 40.00 USD" in status, status


def test_a_date_that_would_be_held_is_shown_with_its_evidence(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    engarde("sync", *RANGE)
    configured.replace(DAY, [])
    before = configured.everything()

    said = engarde("sync", *RANGE, "--dry-run")

    assert said.code == 1
    assert configured.everything() == before
    assert f"{DAY} held" in said.words
    assert (
        f"{DAY} would be held: campaign_metrics {DAY}: BigQuery has 0 records where Postgres has 1" in said.words
    )
    assert engarde("sync", *RANGE, "--dry-run", "--allow-shrink").code == 0


def test_a_slice_is_read_by_a_query_whose_cost_the_emulator_does_not_know(
    engarde: Engarde, configured: World, tenant: UUID
) -> None:
    said = engarde("sync", *RANGE, "--tenant", tenant, "--dry-run")

    assert said.code == 0
    assert "an unknown number of bytes for campaign_metrics (query), because it does not report them" in said.words
    assert f"{NEXT} 1 0 0 0 0" in said.words
    assert configured.rows() == []


def test_a_tenant_that_does_not_exist_costs_nothing(engarde: Engarde, configured: World, tenant: UUID) -> None:
    said = engarde("sync", *RANGE, "--tenant", UUID(int=1), "--dry-run")

    assert said.code == 1
    assert "BigQuery would bill" not in said.words


def test_the_job_log_marks_it(engarde: Engarde, configured: World, tenant: UUID) -> None:
    engarde("sync", *RANGE, "--dry-run")

    assert "dry run" in engarde("jobs").words
    assert "campaign_metrics: 30 missing." in engarde("status").words
