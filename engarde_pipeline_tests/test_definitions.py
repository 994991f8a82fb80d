"""What people find in Dagster: assets with their lineage, checks and jobs, described in their words."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dagster import AssetKey, AssetsDefinition, AssetSpec, TableColumnLineage, TableSchema
from dagster_gcp import BigQueryResource

import engarde_pipeline
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.definitions import defs
from engarde_pipeline.defs.assets.campaign_metrics import campaign_metrics
from engarde_pipeline.defs.assets.sources import bigquery_campaign_metrics
from engarde_pipeline.defs.locations import with_locations
from engarde_pipeline.defs.partitions import daily
from engarde_pipeline_tests.conftest import NAMED_SERVERS

ROOT = Path(engarde_pipeline.__file__).parents[1]
SPECS = {
    spec.key.to_user_string(): spec for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
}
EVERY_ASSET = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
METRIC_TABLES = pytest.mark.parametrize("table", [CAMPAIGN_METRICS, ASSET_METRICS], ids=lambda table: table.target)


def _upstream(asset: str) -> set[str]:
    return {dep.asset_key.to_user_string() for dep in SPECS[asset].deps}


def test_the_lineage_reads_from_bigquery_to_the_totals() -> None:
    assert {asset: _upstream(asset) for asset in SPECS} == {
        "bigquery_campaign_metrics": set(),
        "bigquery_asset_metrics": set(),
        "campaign_metrics": {"bigquery_campaign_metrics"},
        "campaign_asset_metrics": {"bigquery_asset_metrics"},
        "campaign_space_aggregates": {"campaign_metrics", "campaign_asset_metrics"},
    }


@EVERY_ASSET
def test_an_asset_says_what_it_is_whose_it_is_and_where_it_lives(spec: AssetSpec) -> None:
    assert spec.description
    assert spec.owners == ["team:marketing-data"]
    assert spec.group_name == "performance"
    assert spec.kinds == {"bigquery" if spec.key.to_user_string().startswith("bigquery") else "postgres", "table"}
    schema = spec.metadata["dagster/column_schema"]
    assert isinstance(schema, TableSchema)
    assert all(column.description for column in schema.columns)


@METRIC_TABLES
def test_every_number_leads_back_to_its_columns_in_bigquery(table: MetricTable) -> None:
    lineage = SPECS[table.target].metadata["dagster/column_lineage"]
    assert isinstance(lineage, TableColumnLineage)
    source = AssetKey(f"bigquery_{table.source}")
    upstream = {
        column: {dep.column_name for dep in deps if dep.asset_key == source}
        for column, deps in lineage.deps_by_column.items()
    }
    for measure in table.measure_names:
        assert upstream[measure] == {measure}
    for ratio in table.ratios:
        assert upstream[ratio.name] == {ratio.numerator, ratio.denominator}


@METRIC_TABLES
def test_a_columns_description_names_its_columns_in_bigquery(table: MetricTable) -> None:
    described = {c.name: c.description for c in SPECS[table.target].metadata["dagster/column_schema"].columns}
    assert described["spend"].endswith(f"From {table.source} in BigQuery: spend (FLOAT64 or NUMERIC).")
    assert described["ctr"].endswith(f"From {table.source} in BigQuery: clicks (INT64), impressions (INT64).")
    assert "campaign_id (STRING)" in described[table.target_id]


def test_each_asset_says_where_its_table_is_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "acme-ads")
    monkeypatch.setenv("BIGQUERY_DATASET_ID", "marts")
    address = "postgresql://loader:s3cret@db.example:5433/app?options=-csearch_path%3Dads&password=s3cret"
    monkeypatch.setenv("DATABASE_URL", address)

    source, target = (
        {name: str(getattr(value, "value", value)) for name, value in spec.metadata.items()}
        for asset in with_locations([bigquery_campaign_metrics, campaign_metrics])
        for spec in ([asset] if isinstance(asset, AssetSpec) else asset.specs)
    )

    assert source["dagster/table_name"] == "acme-ads.marts.campaign_metrics"
    assert source["bigquery_console"].startswith(
        "https://console.cloud.google.com/bigquery?p=acme-ads&d=marts&t=camp"
    )
    assert target["dagster/table_name"] == "app.ads.campaign_metrics"
    assert target["dagster/uri"] == "postgresql://db.example:5433/app"
    assert "s3cret" not in str(target)


def test_each_asset_refers_to_its_source_code() -> None:
    for name in ("campaign_metrics", "campaign_asset_metrics", "campaign_space_aggregates"):
        (reference,) = SPECS[name].metadata["dagster/code_references"].code_references
        assert Path(reference.file_path) == ROOT / f"engarde_pipeline/defs/assets/{name}.py"


@pytest.mark.parametrize(
    "branch",
    [
        "https://github.com/acme/engarde_pipeline/tree/main",
        "https://gitlab.example/marketing/data/engarde/-/tree/release/1.2",
    ],
)
def test_each_asset_links_to_its_source_in_the_repository(monkeypatch: pytest.MonkeyPatch, branch: str) -> None:
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "acme-ads")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/app")
    monkeypatch.setenv("ENGARDE_SOURCE_CODE_URL", branch)

    (asset,) = with_locations([campaign_metrics])

    (spec,) = asset.specs if isinstance(asset, AssetsDefinition) else [asset]
    (reference,) = spec.metadata["dagster/code_references"].code_references
    address, line = reference.url.split("#L")
    assert address == f"{branch}/engarde_pipeline/defs/assets/campaign_metrics.py"
    code = (ROOT / "engarde_pipeline/defs/assets/campaign_metrics.py").read_text().splitlines()[int(line) - 1 :]
    assert any(text.startswith("def campaign_metrics(") for text in code[:20])


def test_nothing_that_dagster_shows_is_a_remark_for_developers() -> None:
    of_base_class = {field.description for field in BigQueryResource.model_fields.values()}
    shown = [text for text in _descriptions() if text not in of_base_class]
    assert len(shown) > 80
    remarks = re.compile(r"\brules? \d|\b_\w|\(\)|docs/adr|base class|default_config|`[A-Z]\w+`")
    assert [text for text in shown if remarks.search(text)] == []


def _descriptions() -> Iterator[str]:
    """Yield the descriptions of all definitions, and of what can be configured in their launchpads."""
    for spec in SPECS.values():
        yield spec.description or ""
        yield from (column.description or "" for column in spec.metadata["dagster/column_schema"].columns)
    for definition in defs.asset_checks or ():
        yield from (spec.description or "" for spec in definition.check_specs)
    for automation in (*(defs.sensors or ()), *(defs.schedules or ())):
        yield automation.description or ""
    for job in defs.resolve_all_job_defs():
        yield job.description or ""
        yield from (node.definition.description or "" for node in job.graph.nodes)
        yield from (resource.description or "" for resource in job.resource_defs.values())
        for config_type in job.get_job_snapshot().config_schema_snapshot.all_config_snaps_by_key.values():
            yield config_type.description or ""
            yield from (field.description or "" for field in config_type.fields or ())


@METRIC_TABLES
def test_the_columns_shown_are_those_of_the_table(table: MetricTable, connection: psycopg.Connection) -> None:
    schema = SPECS[table.target].metadata["dagster/column_schema"]
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table.target]
    ).fetchall()
    assert {"id", *(column.name for column in schema.columns)} == {name for (name,) in rows}


@METRIC_TABLES
def test_a_metric_asset_has_one_partition_per_date(table: MetricTable) -> None:
    assert SPECS[table.target].partitions_def == daily


def test_every_check_is_there_and_described() -> None:
    checks = {
        f"{spec.asset_key.to_user_string()}:{spec.name}": spec
        for definition in defs.asset_checks or ()
        for spec in definition.check_specs
    }
    names = (
        "records_accounted_for",
        "sums_equal_bigquery",
        "rejected_share_below_5_percent",
        "clicks_not_above_impressions",
    )
    assert set(checks) == {
        "campaign_space_aggregates:one_currency_per_campaign",
        "campaign_space_aggregates:totals_equal_rows",
        "campaign_metrics:no_day_counted_twice",
        "campaign_metrics:platform_days_equal_rows",
        *(f"{table.target}:{name}" for table in (CAMPAIGN_METRICS, ASSET_METRICS) for name in names),
    }
    assert all(spec.description for spec in checks.values())


def test_there_is_a_job_for_dates_one_for_slices_and_one_for_totals() -> None:
    jobs = {job.name: job.description for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert jobs.keys() == {"performance_sync", "slice_sync", "totals"}
    assert all(jobs.values())


def test_every_sensor_and_schedule_is_on_after_a_fresh_install_and_described() -> None:
    sensors = {sensor.name: sensor for sensor in defs.sensors or ()}
    schedules = {schedule.name: schedule for schedule in defs.schedules or ()}
    assert sensors.keys() == {"changed_partitions", "new_mappings", "pending_totals", "lost_runs", "alerts"}
    assert schedules.keys() == {"hourly_sync", "nightly_reconciliation"}
    for automation in (*sensors.values(), *schedules.values()):
        assert automation.default_status.value == "RUNNING"
        assert automation.description


@pytest.mark.parametrize(
    "command", ["dagster definitions validate", pytest.param("dg check defs", marks=pytest.mark.long)]
)
def test_dagsters_own_tools_are_content(command: str, tmp_path: Path) -> None:
    done = _dagsters_own_tool(command, ENGARDE_HOME=str(tmp_path), **NAMED_SERVERS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preview" not in done.stdout + done.stderr


def test_a_code_location_without_a_configuration_fails_and_names_what_is_missing(tmp_path: Path) -> None:
    done = _dagsters_own_tool("dagster definitions validate", ENGARDE_HOME=str(tmp_path / "none"))
    assert done.returncode != 0
    for name in ("BIGQUERY_PROJECT_ID", "DATABASE_URL"):
        assert f"{name}: is missing" in done.stdout + done.stderr


def _dagsters_own_tool(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
