"""Logs and traces of every process. The lowest layer: everything may log, and say what takes how long."""

from engarde_pipeline.telemetry.logs import configure_logs
from engarde_pipeline.telemetry.spans import configure_traces


def configure_telemetry(service: str, *, console: bool = False) -> None:
    """Configure logs and traces of this process by the environment; see `configure_logs`."""
    configure_logs(console=console)
    configure_traces(service)
