"""The metrics of `engarde exporter`: their names, types, labels and meanings.

No label has values that grow with tenants, campaigns or dates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Values = Mapping[tuple[str, ...], float]
"""The value for each combination of label values."""


@dataclass(frozen=True)
class Gauge:
    """A metric whose value can go up and down."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    def family(self, values: Values | float | None) -> Metric:
        """Return the metric with its current values; None if it has none."""
        family = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        return _with_values(family, values)


@dataclass(frozen=True)
class Counter:
    """A metric whose value only goes up, and starts again from 0 each day (UTC)."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    def family(self, values: Values | float | None) -> Metric:
        """Return the metric with its current values."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.meaning, labels=self.labels)
        return _with_values(family, values)


@dataclass(frozen=True)
class Histogram:
    """A distribution, counted in buckets, that starts again from 0 each day (UTC)."""

    name: str
    meaning: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def family(self, numbers: Iterable[int], total: float) -> Metric:
        """Return the metric from the number of observations in each bucket, the last of which has no bound."""
        cumulative, buckets = 0, []
        for bound, number in zip((*map(str, self.bounds), "+Inf"), numbers, strict=True):
            cumulative += number
            buckets.append((bound, float(cumulative)))
        return HistogramMetricFamily(self.name, self.meaning, buckets=buckets, sum_value=total)


def _with_values(family: GaugeMetricFamily | CounterMetricFamily, values: Values | float | None) -> Metric:
    if isinstance(values, Mapping):
        for labels, value in values.items():
            family.add_metric(labels, value)
    elif values is not None:
        family.add_metric((), values)
    return family


@dataclass(frozen=True)
class Catalogue:
    """All metrics of the exporter."""

    # The exporter itself.
    exporter_up: Gauge = Gauge(
        "engarde_exporter_up",
        "Whether a part of the exporter could be read in time: dagster, runs, alerts, postgres, workers or"
        " webserver. The metrics of a part that could not be read are missing.",
        ("part",),
    )
    exporter_seconds: Gauge = Gauge(
        "engarde_exporter_part_duration_seconds", "How long the last read of a part took.", ("part",)
    )
    # Dagster.
    heartbeat: Gauge = Gauge(
        "dagster_daemon_last_heartbeat_timestamp_seconds",
        "When each daemon of Dagster last reported that it is alive.",
        ("daemon",),
    )
    runs: Gauge = Gauge("dagster_runs", "Runs in Dagster's history by job and current status.", ("job", "status"))
    queue_oldest: Gauge = Gauge(
        "dagster_run_queue_oldest_seconds", "How long the oldest queued run has been waiting; 0 if none is."
    )
    max_concurrent_runs: Gauge = Gauge(
        "dagster_max_concurrent_runs", "Runs that dagster.yaml allows at the same time (max_concurrent_runs)."
    )
    webserver_up: Gauge = Gauge(
        "dagster_webserver_up", "Whether Dagster's webserver responds at ENGARDE_WEBSERVER_URL, if that is set."
    )
    # Workers; without them, these have no values.
    broker_up: Gauge = Gauge(
        "engarde_broker_up", "Whether redis can be reached, through which the daemon hands runs to the workers."
    )
    workers: Gauge = Gauge("engarde_workers", "Workers that respond.")
    worker_slots: Gauge = Gauge(
        "engarde_worker_slots", "Runs that the workers that respond can execute at the same time."
    )
    # Syncs.
    last_success: Gauge = Gauge(
        "engarde_last_success_timestamp_seconds",
        "When the last sync of each job succeeded, except dry runs.",
        ("job",),
    )
    failures_in_a_row: Gauge = Gauge(
        "engarde_sync_failures_in_a_row",
        "How many of the last three syncs failed since the last success, each after its retries.",
    )
    running_longest: Gauge = Gauge(
        "engarde_sync_running_longest_seconds", "How long the longest running sync has been running; 0 if none is."
    )
    sync_runs: Counter = Counter(
        "engarde_sync_runs_total",
        "Sync runs that ended, except dry runs: success, failure, canceled, retried (it failed and is retried),"
        " refused (dates are held, or what was asked for does not exist).",
        ("job", "status"),
    )
    sync_duration: Histogram = Histogram(
        "engarde_sync_duration_seconds",
        "How long successful sync runs took from their start to their end.",
        (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
    )
    sync_retries: Counter = Counter("engarde_sync_retries_total", "Sync runs that ended and were retries.")
    records: Counter = Counter(
        "engarde_records_total",
        "Records of ended sync runs: inserted, updated, unchanged, rejected; beside them deleted rows.",
        ("table", "outcome"),
    )
    # Dates, as the sensor `alerts` found them.
    due_dates: Gauge = Gauge(
        "engarde_due_dates", "Dates that are due to be synced, as the sensor alerts last found.", ("table",)
    )
    due_since: Gauge = Gauge(
        "engarde_due_since_timestamp_seconds",
        "Since when the date that is due the longest is due; absent if none.",
    )
    alerts_evaluated: Gauge = Gauge(
        "engarde_alerts_evaluated_timestamp_seconds", "When the sensor alerts was last evaluated."
    )
    alerts_channels: Gauge = Gauge(
        "engarde_alerts_channels", "Channels through which the sensor alerts notifies people, except the log."
    )
    alerts_waiting: Gauge = Gauge(
        "engarde_alerts_messages_waiting", "Messages of the sensor alerts that a channel has not accepted yet."
    )
    incidents: Gauge = Gauge(
        "engarde_alerts_incidents", "Open incidents of the sensor alerts, by kind.", ("incident",)
    )
    outage: Gauge = Gauge(
        "engarde_outage_start_timestamp_seconds",
        "Since when the sensor alerts could not read BigQuery, Postgres or the plan (what has to be synced).",
        ("server",),
    )
    # Postgres.
    held_dates: Gauge = Gauge("engarde_held_dates", "Dates whose loads look wrong and were refused.")
    missing_dates: Gauge = Gauge(
        "engarde_missing_dates", "Dates of the window (ENGARDE_WINDOW_DAYS) that were never synced.", ("table",)
    )
    compared: Gauge = Gauge(
        "engarde_compared_timestamp_seconds",
        "When the date of the window that was not compared with BigQuery for the longest time last was.",
        ("table",),
    )
    mostly_rejected: Gauge = Gauge(
        "engarde_much_rejected_dates",
        "Dates of the window with more than 5 % of their records rejected.",
        ("table",),
    )
    rejected_open: Gauge = Gauge("engarde_rejected_open", "Records that are not loaded, by reason.", ("reason",))
    bytes_today: Gauge = Gauge("engarde_bigquery_bytes_today", "Bytes read from BigQuery today (UTC).")
    bytes_budget: Gauge = Gauge(
        "engarde_bigquery_bytes_budget", "Bytes per day that sensors and schedules may read (ENGARDE_DAILY_BYTES)."
    )
    table_bytes: Gauge = Gauge(
        "engarde_table_bytes", "Size of a table on disk with its indexes, and of all its partitions.", ("table",)
    )
    table_rows: Gauge = Gauge(
        "engarde_table_rows", "Rows of a table, as estimated by Postgres' statistics.", ("table",)
    )


METRICS = Catalogue()


def all_metrics() -> list[Gauge | Counter | Histogram]:
    """Return all metrics of the exporter, in the order of the catalogue."""
    return [getattr(METRICS, field.name) for field in fields(METRICS)]
