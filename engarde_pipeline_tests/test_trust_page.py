"""docs/trust.md: its SQL runs as it stands and leads from a number to its job, and it names every check."""

import re
from datetime import date
from pathlib import Path

from dagster import DagsterInstance

from engarde_pipeline.definitions import defs
from engarde_pipeline_tests.dagster_runs import run_range
from engarde_pipeline_tests.shop import Shop

PAGE = (Path(__file__).parents[1] / "docs" / "trust.md").read_text()
DAY = date(2026, 3, 1)


def test_its_sql_leads_from_a_number_to_its_job_version_rejects_and_refusal(
    instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    shop.load_unmapped(DAY)
    landed = run_range(instance, DAY, DAY)
    shop.world.replace(DAY, [])
    refused = run_range(instance, DAY, DAY)

    row, synced, sums, rejected, held = (shop.world.query(statement) for statement in _statements())

    assert [str(found["bigquery_sync_id"]) for found in row] == [landed.run_id]
    assert [found["records"] for found in synced] == [3]
    assert [(found["platform"], found["clicks"]) for found in sums] == [("meta", 20)]
    assert [(found["keys"]["campaign_id"], found["reason_code"]) for found in rejected] == [
        ("c3", "campaign_not_mapped")
    ]
    assert [(str(found["run_id"]), found["reason"]) for found in held] == [(refused.run_id, "would_shrink")]


def test_it_names_every_check() -> None:
    checks = {key.name for checks in defs.asset_checks or () for key in checks.check_keys}
    assert checks
    assert not [name for name in checks if f"`{name}`" not in PAGE]


def _statements() -> list[str]:
    return re.findall(r"```sql\n(.*?);\n```", PAGE, re.DOTALL)
