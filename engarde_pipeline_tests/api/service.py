"""The API over real HTTP: uvicorn in a thread, on a port of its own."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from dagster import DagsterInstance
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from engarde_pipeline.api.app import PREFIX, create_app
from engarde_pipeline.api.http_protocol import BoundedProtocol, SocketProtocol
from engarde_pipeline.api.tokens import mint
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.settings import API_ROLE, ApiSettings
from engarde_pipeline.web.login_links import LoginLinks
from engarde_pipeline.web.pages import add_pages

SECRET = "a-secret-of-the-tests-that-is-long-enough"  # noqa: S105  it signs nothing real


def free_port() -> int:
    """Return a port that nothing listens on, and that the system gives to no socket by itself."""
    while True:
        port = random.randint(10_000, 30_000)  # noqa: S311  below Linux' ephemeral ports
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class Service:
    """A running API, and who asks it."""

    def __init__(self, url: str, app: FastAPI) -> None:
        self.url = url
        self.app = app
        self.client = httpx.Client(base_url=url, timeout=30)

    def headers(self, tenant: UUID, scopes: str = "", user: str = "u1") -> dict[str, str]:
        """Return the headers of a tenant's request."""
        return {"Authorization": f"Bearer {mint(SECRET, tenant, user, timedelta(hours=1), scopes)}"}

    def get(self, path: str, tenant: UUID, scopes: str = "", **params: Any) -> httpx.Response:
        """Ask as a tenant."""
        return self.client.get(PREFIX + path, params=params, headers=self.headers(tenant, scopes))

    def sync(self, tenant: UUID, body: object = None, scopes: str = "", key: str | None = None) -> httpx.Response:
        """Ask for a sync as a tenant."""
        headers = self.headers(tenant, scopes) | ({"Idempotency-Key": key} if key else {})
        return self.client.post(f"{PREFIX}/sync", json=body, headers=headers)


def api_database_url(database_url: str) -> str:
    """Let the API's role log in, and return the address at which it does."""
    with connect(database_url) as connection:
        connection.execute(f"ALTER ROLE {API_ROLE} LOGIN".encode())
    return make_url(database_url).set(username=API_ROLE).render_as_string(hide_password=False)


def settings(database_url: str, **values: Any) -> ApiSettings:
    """Return the API's settings for a test database."""
    return ApiSettings(
        api_database_url=SecretStr(api_database_url(database_url)), jwt_secret_key=SecretStr(SECRET), **values
    )


@contextmanager
def serving(
    api_settings: ApiSettings, instance: DagsterInstance, links: LoginLinks | None = None, port: int = 0
) -> Iterator[Service]:
    """Serve the API and its pages for as long as the block lasts, on any port by default."""
    app = create_app(api_settings, instance)
    add_pages(app, links)
    config = uvicorn.Config(
        app, http=BoundedProtocol, ws=SocketProtocol, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        service = Service(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
        try:
            yield service
        finally:
            service.client.close()
            server.should_exit = True
            thread.join()
