"""The exporter on a real history and a real Postgres: what it counts, and what it does where it cannot read."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.engine import make_url
from starlette.testclient import TestClient

from engarde_pipeline.core.dates import today
from engarde_pipeline.dagster_internals import RunsTable, SqlRunStorage
from engarde_pipeline.definitions import defs
from engarde_pipeline.observability.catalogue import Counter, all_metrics
from engarde_pipeline.observability.collector import PartsCollector
from engarde_pipeline.observability.parts import INCIDENTS, parts
from engarde_pipeline.observability.server import create_app
from engarde_pipeline.observability.sync_totals import SyncTotals
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema.grants import grant_exporter
from engarde_pipeline.settings import load_exporter_settings
from engarde_pipeline_tests.conftest import NewRole
from engarde_pipeline_tests.dagster_runs import origin_of, run_range
from engarde_pipeline_tests.observability.conftest import Samples, samples_of
from engarde_pipeline_tests.servers import installed_program
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

Scrape = Callable[[], Samples]

PARTS = ("dagster", "runs", "alerts", "postgres", "workers")


def fail(instance: DagsterInstance, **tags: str) -> str:
    """End a run as failed, as after an error in it."""
    job = defs.resolve_job_def("performance_sync")
    run = instance.create_run_for_job(
        job, tags=tags, status=DagsterRunStatus.STARTED, remote_job_origin=origin_of(job.name)
    )
    instance.report_run_failed(run)
    return run.run_id


def totals(*metrics: Metric) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of metrics that are not 0."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in (sample for metric in metrics for sample in metric.samples if sample.value):
        found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_scrape_has_what_the_last_syncs_left(instance: DagsterInstance, shop: Shop, scrape: Scrape) -> None:
    days = [today() - timedelta(days=1), today()]
    shop.load(*days)
    shop.load_unmapped(today())
    shop.load_unmapped(today(), tenant="nobody")
    shop.world.connection.execute("INSERT INTO bigquery_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 7)")
    assert run_range(instance, days[0], days[1]).success
    shop.world.connection.execute("ANALYZE")

    found = scrape()

    assert found["engarde_exporter_up"] == {(part,): 1 for part in (*PARTS, "webserver")}
    assert found["dagster_webserver_up"] == {(): 0}
    assert found["engarde_sync_runs_total"]["performance_sync", "success"] == 1
    assert found["engarde_sync_duration_seconds_count"] == {(): 1}
    records = found["engarde_records_total"]
    assert records["inserted", "campaign_metrics"] == 4
    assert records["rejected", "campaign_metrics"] == 2
    assert records["inserted", "campaign_asset_metrics"] == 2
    assert found["dagster_runs"]["performance_sync", "success"] == 1
    assert found["engarde_last_success_timestamp_seconds"].keys() == {("performance_sync",)}
    assert found["engarde_rejected_open"]["campaign_not_mapped",] == 1
    assert found["engarde_rejected_open"]["malformed_tenant",] == 1
    assert found["engarde_rejected_open"]["null_key",] == 0
    assert found["engarde_much_rejected_dates"] == {("campaign_metrics",): 1, ("campaign_asset_metrics",): 0}
    assert found["engarde_missing_dates"]["campaign_metrics",] == 28
    assert found["engarde_bigquery_bytes_today"][()] >= 7
    assert found["engarde_bigquery_bytes_budget"] == {(): 1024**4}
    assert found["engarde_table_rows"]["campaign_metrics",] == 4
    assert found["engarde_table_bytes"]["campaign_metrics",] > 0
    assert found["engarde_held_dates"] == {(): 0}
    assert found["dagster_run_queue_oldest_seconds"] == {(): 0}
    ids = re.compile(str(shop.tenant)[:8])
    assert not [labels for values in found.values() for labels in values if ids.search(" ".join(labels))]


def test_a_restart_has_the_same_totals_and_each_run_is_counted_once(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(today())
    before = SyncTotals(instance)
    before.read()
    run_range(instance, today(), today(), {"dry_run": True})
    assert totals(*before.read()) == {}

    run_range(instance, today(), today())
    fail(instance, **{"dagster/max_retries": "0"})
    counted = totals(*before.read())

    assert counted["engarde_sync_runs_total"] == {
        ("performance_sync", "success"): 1,
        ("performance_sync", "failure"): 1,
    }
    assert totals(*before.read()) == counted
    assert totals(*SyncTotals(instance).read()) == counted


def test_a_failure_counts_when_it_is_known_whether_it_is_retried(instance: DagsterInstance) -> None:
    run_id = fail(instance, **{"dagster/will_retry": "true"})
    before = SyncTotals(instance)
    assert totals(*before.read()) == {}

    instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": "0"})

    assert totals(*before.read())["engarde_sync_runs_total"] == {("performance_sync", "retried"): 1}


def test_a_sync_of_a_held_date_is_refused_and_not_failed(instance: DagsterInstance, shop: Shop) -> None:
    rows = [
        {"tenant_id": str(shop.tenant), "campaign_id": f"x{n}", "platform": "meta", "clicks": n}
        for n in range(1, 40)
    ]
    shop.world.load([{**row, "metric_date": today()} for row in rows] * 2)
    run_range(instance, today(), today())
    assert totals(*SyncTotals(instance).read())["engarde_sync_runs_total"] == {("performance_sync", "refused"): 1}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_totals_start_again_each_day_after_the_last_runs_were_scraped(
    instance: DagsterInstance, is_restarted: bool
) -> None:
    counted = SyncTotals(instance)
    counted.read()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    fail(instance, **{"dagster/max_retries": "0"})

    def failures(minutes: float) -> float:
        reader = SyncTotals(instance) if is_restarted else counted
        found = totals(*reader.read(midnight + timedelta(minutes=minutes)))
        return found.get("engarde_sync_runs_total", {}).get(("performance_sync", "failure"), 0)

    assert [failures(minutes) for minutes in (2.9, 3.1, 5.9, 6.1, 600)] == [1, 0, 0, 0, 0]
    of_next_day = midnight + timedelta(seconds=1)
    _end_at(instance, fail(instance, **{"dagster/max_retries": "0"}), of_next_day)
    assert [failures(minutes) for minutes in (2.9, 5.9, 6.1, 600)] == [1, 0, 1, 1]


def _end_at(instance: DagsterInstance, run_id: str, moment: datetime) -> None:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    run = RunsTable.update().where(RunsTable.c.run_id == run_id)
    with storage.connect() as connection:
        connection.execute(run.values(end_time=moment.timestamp(), update_timestamp=moment.replace(tzinfo=None)))


def test_runs_are_counted_by_job_and_status_and_deleted_ones_no_longer(
    instance: DagsterInstance, scrape: Scrape
) -> None:
    def runs() -> dict[tuple[str, ...], float]:
        return {labels: number for labels, number in scrape()["dagster_runs"].items() if number}

    job = defs.resolve_job_def("performance_sync")
    assert runs() == {}
    kept, deleted = (instance.create_run_for_job(job, status=DagsterRunStatus.SUCCESS) for _ in range(2))
    fail(instance)
    instance.create_run_for_job(defs.resolve_implicit_global_asset_job_def(), status=DagsterRunStatus.STARTED)
    assert runs() == {
        ("performance_sync", "success"): 2,
        ("performance_sync", "failure"): 1,
        ("__ASSET_JOB", "started"): 1,
    }
    instance.delete_run(deleted.run_id)
    assert runs()["performance_sync", "success"] == 1
    instance.delete_run(kept.run_id)
    assert ("performance_sync", "success") not in runs()


def test_what_cannot_be_read_is_named_and_the_rest_is_there(
    instance: DagsterInstance, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable = make_url(world.database_url).set(database="nothing").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", unreachable)
    collector = PartsCollector(parts(load_exporter_settings(), instance))
    found = samples_of(TestClient(create_app(collector)).get("/metrics").raise_for_status().text)
    assert found["engarde_exporter_up"] == {(part,): part != "postgres" for part in PARTS}
    assert "engarde_held_dates" not in found
    assert "dagster_runs" in found


def test_a_part_that_does_not_end_delays_the_others_only_to_the_deadline() -> None:
    ended = threading.Event()
    started = []

    def endless() -> Iterator[Metric]:
        started.append(1)
        ended.wait(60)
        yield GaugeMetricFamily("late", "Late.", value=1)

    registry = CollectorRegistry()
    registry.register(
        PartsCollector({"slow": endless, "fast": lambda: [GaugeMetricFamily("here", "Here.", value=1)]}, 0.1)
    )
    for _ in range(2):
        found = samples_of(generate_latest(registry).decode())
        assert found["engarde_exporter_up"] == {("slow",): 0, ("fast",): 1}
        assert found["here"] == {(): 1}
    assert started == [1]
    ended.set()


def test_the_granted_role_reads_all_parts_and_no_numbers_of_tenants(
    instance: DagsterInstance, world: World, new_role: NewRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = new_role("NOSUPERUSER")
    assert grant_exporter(world.database_url, str(make_url(login).username)) == []
    monkeypatch.setenv("DATABASE_URL", login)
    collector = PartsCollector(parts(load_exporter_settings(), instance))
    found = samples_of(TestClient(create_app(collector)).get("/metrics").text)
    assert found["engarde_exporter_up"] == {(part,): 1 for part in PARTS}
    assert found["engarde_table_bytes"].keys() > {("campaign_spaces",), ("campaign_metrics",)}
    with connect(login) as connection:
        for column, table in (("measures", "rejected_metric_rows"), ("spend", "campaign_metrics")):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"SELECT {column} FROM {table}".encode())


def test_promtool_finds_no_fault_in_a_scrape(exporter: TestClient) -> None:
    text = exporter.get("/metrics").text
    said = subprocess.run(
        [str(installed_program("promtool")), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert {metric.name for metric in all_metrics()} <= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_liveness_reads_nothing(exporter: TestClient) -> None:
    assert exporter.get("/health/live").json() == {"status": "live"}


def test_counters_are_named_as_such_and_labels_are_few() -> None:
    assert {metric.name for metric in all_metrics() if metric.name.endswith("_total")} == {
        metric.name for metric in all_metrics() if isinstance(metric, Counter)
    }
    assert {label for metric in all_metrics() for label in metric.labels} == {
        *("part", "daemon", "job", "status", "table", "outcome", "incident", "server", "reason")
    }
    assert len(set(INCIDENTS.values())) == len(INCIDENTS)
