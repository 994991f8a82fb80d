"""`engarde api`: serves the REST API and creates tokens to try it with."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from engarde_pipeline.cli.ports import Port, check_ports
from engarde_pipeline.cli.servers import dagster_instance, embedded_default
from engarde_pipeline.cli.terminal import announce
from engarde_pipeline.settings import (
    is_embedded,
    load_api_settings,
    load_pipeline_settings,
    load_token_settings,
)
from engarde_pipeline.telemetry import configure_telemetry

if TYPE_CHECKING:
    from fastapi import FastAPI

app = typer.Typer(invoke_without_command=True)

_GRACE_SECONDS = 5


@app.callback()
def api(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            envvar="ENGARDE_API_METRICS_PORT",
            help="A port for Prometheus, with metrics of the requests at /metrics and without authentication.",
        ),
    ] = None,
) -> None:
    """Serve the REST API, which starts and follows syncs and reads metrics, and the pages for people.

    The pages are at /, and the documentation of the API at /docs. `engarde page` prints a link to the pages of the
    sample data; in production, people log in with OpenID Connect (OIDC_ISSUER, ...; docs/pages.md).

    JWT_SECRET_KEY and API_DATABASE_URL must be set, and DAGSTER_DATABASE_URL as for the rest of Dagster. If no
    server is configured, the API uses the sample data of `engarde dev` or `engarde demo`. It starts syncs through
    Dagster's webserver (ENGARDE_WEBSERVER_URL), and Dagster's daemon runs them; `engarde dev` starts both.

    Example: `engarde api --port 8000`
    """
    if context.invoked_subcommand:
        return
    from engarde_pipeline.postgres.schema import migrate

    configure_telemetry("engarde-api", console=True)
    ports = [Port(port, "The REST API", "--port")]
    if metrics_port:
        ports.append(Port(metrics_port, "Its metrics", "--metrics-port"))
    check_ports("engarde api", host, ports)
    with embedded_default():
        settings = load_api_settings()
        if is_embedded():
            migrate.upgrade(settings.api_login)
        _serve(host, port, metrics_port)


@app.command()
def token(
    tenant: Annotated[UUID, typer.Option(help="The tenant's UUID.")],
    user: Annotated[str, typer.Option(help="The user name in the token.")] = "developer",
    hours: Annotated[int, typer.Option(min=1, max=24 * 30, help="How many hours the token is valid.")] = 12,
    scope: Annotated[str, typer.Option(help="Extra permission: sync:all allows syncs of all tenants.")] = "",
) -> None:
    """Print an API token, signed with JWT_SECRET_KEY or with the key of the sample data's API.

    Example: `curl -H "Authorization: Bearer $(engarde api token --tenant ...)" ...`
    """
    from engarde_pipeline.api.tokens import mint

    secret = load_token_settings().jwt_secret_key.get_secret_value()
    # Unformatted, for scripts.
    print(mint(secret, tenant, user, timedelta(hours=hours), scope))  # noqa: T201


@contextmanager
def _application() -> Iterator["FastAPI"]:
    from engarde_pipeline.api.app import create_app
    from engarde_pipeline.web.login_links import LoginLinks
    from engarde_pipeline.web.pages import add_pages

    with dagster_instance() as instance:
        application = create_app(load_api_settings(), instance)
        # Only the embedded default accepts links.
        links = LoginLinks(load_pipeline_settings().engarde_home) if is_embedded() else None
        add_pages(application, links)
        yield application


def _serve(host: str, port: int, metrics_port: int | None) -> None:
    import uvicorn
    from prometheus_client import start_http_server

    from engarde_pipeline.api.http_protocol import BoundedProtocol, SocketProtocol

    with _application() as application:
        announce(
            f"The pages and the API are at [bold]http://{host}:{port}[/], the API's documentation at /docs."
            " Press Ctrl-C to stop."
        )
        if metrics_port:
            start_http_server(metrics_port, host, application.state.request_metrics.registry)
        # What is loaded by now lives as long as the process: scanning it for garbage would delay requests.
        gc.collect()
        gc.freeze()
        # Progress streams can last as long as a sync; the shutdown does not wait for them.
        with suppress(KeyboardInterrupt):  # after its graceful shutdown
            uvicorn.run(
                application,
                host=host,
                port=port,
                http=BoundedProtocol,
                ws=SocketProtocol,
                ws_per_message_deflate=False,  # events are short; each connection would have its own dictionary
                log_config=None,  # ours
                log_level="warning",
                access_log=False,  # `RequestLog` has more to say
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
