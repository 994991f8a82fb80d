"""`engarde exporter`: serves metrics for Prometheus."""

from contextlib import suppress
from typing import Annotated

import typer

from engarde_pipeline.cli.ports import Port, check_ports
from engarde_pipeline.cli.servers import dagster_instance, embedded_default
from engarde_pipeline.cli.terminal import announce
from engarde_pipeline.settings import load_exporter_settings
from engarde_pipeline.telemetry import configure_telemetry

PORT = 9464


def exporter(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = PORT,
) -> None:
    """Serve metrics of syncs, dates, Dagster, BigQuery's budget and Postgres for Prometheus, at /metrics.

    At each scrape, it reads Dagster's history and Postgres, with a role that only reads sums; docs/monitoring.md
    lists the metrics. It has no authentication: only Prometheus may reach it.

    Example: `engarde exporter --port 9464`
    """
    import uvicorn

    from engarde_pipeline.observability.collector import PartsCollector
    from engarde_pipeline.observability.parts import parts
    from engarde_pipeline.observability.server import create_app

    configure_telemetry("engarde-exporter", console=True)
    check_ports("engarde exporter", host, [Port(port, "The exporter", "--port")])
    with embedded_default():
        settings = load_exporter_settings()
        with dagster_instance() as instance:
            collector = PartsCollector(parts(settings, instance))
            announce(f"The metrics are at [bold]http://{host}:{port}/metrics[/]. Press Ctrl-C to stop.")
            with suppress(KeyboardInterrupt):  # after its graceful shutdown
                uvicorn.run(
                    create_app(collector),
                    host=host,
                    port=port,
                    log_config=None,  # ours
                    log_level="warning",
                    access_log=False,
                )
