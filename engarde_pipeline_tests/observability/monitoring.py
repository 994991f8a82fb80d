"""Prometheus and Alertmanager with the deployed rules and routes, only with shorter times and another receiver."""

import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"

SHORTER = {
    # Heartbeats come every 30 seconds.
    "max(dagster_daemon_last_heartbeat_timestamp_seconds) > 180": 45,
    # The sensor is evaluated every minute.
    "time() - engarde_alerts_evaluated_timestamp_seconds > 300": 120,
    'time() - engarde_outage_start_timestamp_seconds{server="bigquery"} > 300': 1,
}
"""Limits in seconds that take less time to be exceeded."""


_SCRAPE = "10s"
"""As deployed, the exporter has more time than the six seconds that it waits for a server that is down."""

_FOR = "6s"
"""Longer than a single scrape that fails on a machine with much to do."""


def write_prometheus_files(directory: Path) -> Path:
    """Write the rules and the configuration, and return the latter."""
    rules = re.sub(r"\bfor: \w+", f"for: {_FOR}", (DEPLOYED / "rules.yml").read_text())
    for expression, seconds in SHORTER.items():
        assert rules.count(expression) == 1
        rules = rules.replace(expression, f"{expression.rpartition('> ')[0]}> {seconds}")
    (directory / "rules.yml").write_text(rules)
    configuration = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE, "evaluation_interval": "1s"}
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    return file


def write_alertmanager_file(directory: Path, receiver_url: str) -> Path:
    """Write the configuration, in which all receivers are paths of `receiver_url`, by their names."""
    configuration = yaml.safe_load((DEPLOYED / "alertmanager.yml").read_text())
    configuration["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    configuration["receivers"] = [
        {"name": each["name"]}
        | ({} if each["name"] == "nobody" else {"webhook_configs": [{"url": f"{receiver_url}/{each['name']}"}]})
        for each in configuration["receivers"]
    ]
    file = directory / "alertmanager.yml"
    file.write_text(yaml.safe_dump(configuration))
    return file
