"""Adds the pages to the application of the API."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from engarde_pipeline.web.error_pages import add_error_pages
from engarde_pipeline.web.failed_dates import FailedDates
from engarde_pipeline.web.login_links import LoginLinks
from engarde_pipeline.web.login_methods import login_methods
from engarde_pipeline.web.rendering import STATIC, StaticFiles
from engarde_pipeline.web.routers import attention, campaigns, freshness, live, login, overview, sync
from engarde_pipeline.web.tenant_names import TenantNames

_ROUTERS = (
    login.router,
    login.session_router,
    overview.router,
    campaigns.router,
    freshness.router,
    attention.router,
    sync.router,
    live.router,
)


def add_pages(app: FastAPI, links: LoginLinks | None = None) -> None:
    """Add the pages, which need a session, and the login, which gives one.

    `links` are those of the embedded default; without them, no link is accepted.
    """
    app.state.login_methods = login_methods(app.state.settings, links)
    app.state.tenant_names = TenantNames(app.state.database)
    app.state.failed_dates = FailedDates(app.state.dagster)
    for router in _ROUTERS:
        app.include_router(router)
        app.state.page_routes += [route.path for route in router.routes if isinstance(route, APIRoute)]
    app.mount(STATIC, StaticFiles())
    add_error_pages(app)
