"""Generates the dashboards in deploy/grafana/dashboards; `make dashboards` runs it.

The panels are defined here, and never edited in Grafana. docs/monitoring.md explains them.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

DIRECTORY = Path(__file__).parent / "dashboards"

_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """A panel: the name of each of its series, and its expression. A current value is shown as a number."""

    title: str
    description: str
    queries: dict[str, str]
    unit: str = "short"
    is_number: bool = False
    warn_at: float | None = None
    fail_at: float | None = None
    is_bad_below: bool = False
    """Whether values below `fail_at` are bad, and not those above."""


@dataclass(frozen=True)
class Page:
    """A dashboard: its panels by the title of their row."""

    name: str
    title: str
    rows: dict[str, tuple[Panel, ...]]


def _number(title: str, description: str, expression: str, unit: str = "short", **thresholds: float) -> Panel:
    return Panel(title, description, {"": expression}, unit, is_number=True, **thresholds)  # type: ignore[arg-type]


FRESHNESS = Page(
    "freshness",
    "Engarde: freshness",
    {
        "Now": (
            _number(
                "Behind BigQuery",
                "How long the oldest due date has been due. The promise is one hour. Empty: no date is due.",
                "max(engarde:due:seconds)",
                "s",
                warn_at=1800,
                fail_at=3600,
            ),
            _number("Due dates", "Dates that are to be synced.", "sum(engarde_due_dates)", warn_at=10),
            _number(
                "Held dates", "Their loads look wrong: a person has to look.", "engarde_held_dates", fail_at=1
            ),
            _number(
                "Missing dates",
                "Dates of the window that were never synced.",
                "sum(engarde_missing_dates)",
                warn_at=1,
            ),
            _number(
                "Daemon's last heartbeat",
                "Without the daemon, nothing is synced and the sensor alerts is silent.",
                "time() - max(dagster_daemon_last_heartbeat_timestamp_seconds)",
                "s",
                warn_at=90,
                fail_at=180,
            ),
            _number(
                "Alerts last evaluated",
                "When the sensor alerts last looked.",
                "time() - engarde_alerts_evaluated_timestamp_seconds",
                "s",
                warn_at=180,
                fail_at=300,
            ),
        ),
        "Over time": (
            Panel(
                "Behind BigQuery",
                "A line that grows for an hour is an alert.",
                {"behind": "max(engarde:due:seconds)"},
                "s",
            ),
            Panel(
                "Due dates by table",
                "Peaks are normal: platforms restate dates.",
                {"{{table}}": "engarde_due_dates"},
            ),
            Panel(
                "Held and missing dates",
                "Both should be 0.",
                {"held": "engarde_held_dates", "missing in {{table}}": "engarde_missing_dates"},
            ),
            Panel(
                "Since the last comparison",
                "How long ago the dates of the window were compared with BigQuery: the oldest comparison.",
                {"{{table}}": "time() - engarde_compared_timestamp_seconds"},
                "s",
            ),
            Panel(
                "Since the last success",
                "By job. A job that nobody starts has no success.",
                {"{{job}}": "time() - engarde_last_success_timestamp_seconds"},
                "s",
            ),
            Panel(
                "Incidents and outages",
                "What the sensor alerts has open, and for how long a server could not be read.",
                {
                    "{{incident}}": "engarde_alerts_incidents > 0",
                    "minutes without {{server}}": "(time() - engarde_outage_start_timestamp_seconds) / 60",
                },
            ),
        ),
    },
)

SYNCS = Page(
    "syncs",
    "Engarde: syncs",
    {
        "Objective: 99 % of the syncs of 30 days succeed": (
            _number(
                "Success rate, 30 days",
                "Retried runs count by their last attempt; refused and canceled ones do not count.",
                "engarde:sync_success:ratio30d",
                "percentunit",
                warn_at=0.995,
                fail_at=0.99,
                is_bad_below=True,
            ),
            _number(
                "Error budget left",
                "The share of the failures that the objective allows and that have not happened yet.",
                "engarde:sync_error_budget:ratio30d",
                "percentunit",
                warn_at=0.5,
                fail_at=0,
                is_bad_below=True,
            ),
            _number(
                "Success rate, 1 day",
                "The same, for today.",
                "engarde:sync_success:ratio1d",
                "percentunit",
                warn_at=0.995,
                fail_at=0.99,
                is_bad_below=True,
            ),
            _number(
                "Failed in a row",
                "Of the last three syncs.",
                "engarde_sync_failures_in_a_row",
                warn_at=1,
                fail_at=3,
            ),
            _number(
                "Longest running",
                "More than ten minutes is normal only for a backfill.",
                "engarde_sync_running_longest_seconds",
                "s",
                warn_at=300,
                fail_at=600,
            ),
            _number(
                "Oldest queued run",
                "How long it has been waiting.",
                "dagster_run_queue_oldest_seconds",
                "s",
                warn_at=600,
                fail_at=1800,
            ),
        ),
        "Runs": (
            Panel(
                "Ended sync runs per hour",
                "By how they ended.",
                {"{{status}}": "sum by (status) (increase(engarde_sync_runs_total[1h]))"},
            ),
            Panel(
                "Error budget",
                "It falls with each failed sync.",
                {"left": "engarde:sync_error_budget:ratio30d"},
                "percentunit",
            ),
            Panel(
                "Duration of successful runs",
                "Of the last six hours.",
                {
                    f"p{share}": f"histogram_quantile({share / 100},"
                    " sum by (le) (rate(engarde_sync_duration_seconds_bucket[6h])))"
                    for share in (50, 90, 99)
                },
                "s",
            ),
            Panel(
                "Retries per hour",
                "Runs that were retries.",
                {"retries": "increase(engarde_sync_retries_total[1h])"},
            ),
            Panel(
                "Runs now",
                "All jobs, by status.",
                {"{{status}}": 'sum by (status) (dagster_runs{status!~"success|failure|canceled"})'},
            ),
        ),
        "Records": (
            Panel(
                "Records per hour",
                "Unchanged ones are not written.",
                {"{{outcome}}": "sum by (outcome) (increase(engarde_records_total[1h]))"},
            ),
            Panel(
                "Rejected records by reason",
                "`engarde status` says what to do.",
                {"{{reason}}": "engarde_rejected_open > 0"},
            ),
            Panel(
                "Dates with more than 5 % rejected", "In the window.", {"{{table}}": "engarde_much_rejected_dates"}
            ),
        ),
    },
)

BIGQUERY = Page(
    "bigquery",
    "Engarde: BigQuery",
    {
        "Budget": (
            _number("Bytes today", "Since midnight UTC.", "engarde_bigquery_bytes_today", "decbytes"),
            _number("Budget per day", "ENGARDE_DAILY_BYTES.", "engarde_bigquery_bytes_budget", "decbytes"),
            _number(
                "Budget used",
                "At 100 %, sensors and schedules start no syncs until midnight UTC.",
                "engarde:bigquery_budget:ratio",
                "percentunit",
                warn_at=0.8,
                fail_at=1,
            ),
        ),
        "Over time": (
            Panel(
                "Bytes and budget",
                "The bytes start again from 0 at midnight UTC.",
                {"read today": "engarde_bigquery_bytes_today", "budget": "engarde_bigquery_bytes_budget"},
                "decbytes",
            ),
            Panel(
                "Bytes per hour",
                "A step is a query or a read of many dates.",
                {"bytes": "clamp_min(delta(engarde_bigquery_bytes_today[1h]), 0)"},
                "decbytes",
            ),
            Panel(
                "Bytes per sync run",
                "Runs read more when platforms restate, or when somebody backfills.",
                {
                    "bytes per run": "clamp_min(delta(engarde_bigquery_bytes_today[6h]), 0)"
                    ' / (sum(increase(engarde_sync_runs_total{status=~"success|failure"}[6h])) > 0)'
                },
                "decbytes",
            ),
            Panel(
                "BigQuery cannot be read",
                "For how long, as the sensor alerts found.",
                {"{{server}}": 'time() - engarde_outage_start_timestamp_seconds{server=~"bigquery|plan"}'},
                "s",
            ),
        ),
    },
)

POSTGRES_AND_API = Page(
    "postgres-and-api",
    "Engarde: Postgres and API",
    {
        "API": (
            Panel(
                "Requests per second",
                "By route.",
                {"{{route}}": "sum by (route) (engarde:api_requests:rate5m)"},
                "reqps",
            ),
            Panel("Latency, p99", "By route.", {"{{route}}": "engarde:api_latency:p99_5m"}, "s"),
            Panel(
                "Errors",
                "The share of responses with status 5xx.",
                {"errors": "engarde:api_errors:ratio5m"},
                "percentunit",
            ),
            Panel(
                "Responses by status",
                "Many 401 are a wrong secret, many 429 a client without a pause.",
                {"{{status}}": "sum by (status) (engarde:api_requests:rate5m)"},
                "reqps",
            ),
            Panel(
                "Requests in progress",
                "Streams of events are in progress for as long as their clients listen.",
                {"{{route}}": "sum by (route) (engarde_api_requests_in_progress)"},
            ),
        ),
        "Postgres": (
            Panel("Size of tables", "With indexes.", {"{{table}}": "engarde_table_bytes"}, "bytes"),
            Panel("Rows of tables", "Estimated.", {"{{table}}": "engarde_table_rows"}),
            Panel(
                "Growth per day",
                "Of the tables that grow.",
                {"{{table}}": "delta(engarde_table_bytes[1d]) > 0"},
                "bytes",
            ),
        ),
        "Processes": (
            Panel(
                "Up",
                "1: it responds. The parts are what the exporter reads.",
                {
                    "{{job}}": 'up{job=~"engarde-.*"}',
                    "part {{part}}": "engarde_exporter_up",
                    "webserver": "dagster_webserver_up",
                    "redis": "engarde_broker_up",
                },
            ),
            Panel(
                "Workers",
                "Runs that they can execute at the same time, and how many Dagster starts. No workers: only that.",
                {
                    "workers": "engarde_workers",
                    "slots": "engarde_worker_slots",
                    "max_concurrent_runs": "dagster_max_concurrent_runs",
                },
            ),
            Panel(
                "Reads of the exporter",
                "How long each part takes.",
                {"{{part}}": "engarde_exporter_part_duration_seconds"},
                "s",
            ),
            Panel(
                "Messages of the sensor alerts",
                "Waiting ones were not accepted by a channel.",
                {"waiting": "engarde_alerts_messages_waiting", "channels": "engarde_alerts_channels"},
            ),
        ),
    },
)

PAGES = (FRESHNESS, SYNCS, BIGQUERY, POSTGRES_AND_API)


def panels(page: Page) -> Iterator[Panel]:
    """Yield the panels of a dashboard."""
    for of_row in page.rows.values():
        yield from of_row


def document(page: Page) -> str:
    """Return the JSON of a dashboard."""
    dashboard = Dashboard(page.title).uid(f"engarde-{page.name}").tags(["engarde"]).timezone("utc")
    dashboard = dashboard.refresh("1m").time("now-24h", "now").readonly()
    for title, of_row in page.rows.items():
        dashboard = dashboard.with_row(Row(title))
        for panel in of_row:
            dashboard = dashboard.with_panel(_built(panel, len(of_row)))
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def _built(panel: Panel, in_row: int) -> stat.Panel | timeseries.Panel:
    thresholds = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(_steps(panel))
    built: stat.Panel | timeseries.Panel
    if panel.is_number:
        built = stat.Panel().graph_mode(BigValueGraphMode.NONE).height(4).span(_COLUMNS // min(in_row, 6))
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        built = timeseries.Panel().legend(legend.show_legend(True)).fill_opacity(10).min(0).height(8).span(8)
    built = built.title(panel.title).description(panel.description).datasource(_SOURCE).unit(panel.unit)
    built = built.thresholds(thresholds)
    for number, (legend_format, expression) in enumerate(panel.queries.items()):
        query = Dataquery().expr(expression).legend_format(legend_format).ref_id(chr(ord("A") + number))
        built = built.with_target(query.instant() if panel.is_number else query.range())
    return built


def _steps(panel: Panel) -> list[Threshold]:
    good, warning, bad = "green", "orange", "red"
    limits = [(panel.warn_at, warning), (panel.fail_at, bad)]
    known = [(limit, color) for limit, color in limits if limit is not None]
    if not panel.is_bad_below:
        return [
            Threshold(color=good, value=None),
            *(Threshold(color=color, value=limit) for limit, color in known),
        ]
    return [
        Threshold(color=bad, value=None),
        Threshold(color=warning, value=panel.fail_at),
        Threshold(color=good, value=panel.warn_at),
    ]


def main() -> None:
    """Write the dashboards."""
    DIRECTORY.mkdir(exist_ok=True)
    for page in PAGES:
        (DIRECTORY / f"{page.name}.json").write_text(document(page))


if __name__ == "__main__":
    sys.exit(main())
