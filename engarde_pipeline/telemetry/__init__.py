"""Logs and traces of every process. The lowest layer: everything may log, and say what takes how long."""

from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.telemetry.logs import configure_logs
from engarde_pipeline.telemetry.spans import configure_traces


def configure_telemetry(service: str, *, console: bool = False) -> None:
    """Configure logs and traces of this process by the environment; see `configure_logs`.

    Raises:
        InvalidSettings: a variable is malformed.
    """
    configure_logs(load_pipeline_settings().engarde_log_format, console=console)
    configure_traces(service)
