"""`engarde page`: prints a one-time link that logs in to the pages of the embedded default."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from engarde_pipeline.cli.readiness import responds
from engarde_pipeline.cli.terminal import console, print_warning
from engarde_pipeline.core.errors import EngardeError, InvalidInput
from engarde_pipeline.settings import (
    is_embedded,
    is_unconfigured,
    load_database_settings,
    load_login_settings,
    load_pipeline_settings,
)

if TYPE_CHECKING:
    import psycopg


class NoLinks(EngardeError):
    """People do not log in with links here, or nothing serves the pages."""


def page(
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Show only this tenant (name or UUID). Can be repeated. Default: all tenants."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address of the API, as of `engarde api`.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port of the API, as --api-port of `engarde dev`.")
    ] = 8000,
) -> None:
    """Print a link that logs in to the pages, once and within ten minutes.

    This is for the sample data of `engarde dev`, which serves the pages as a part of the REST API and prints
    such a link when it is ready. In production, people log in with OpenID Connect at API_PUBLIC_URL, and no link
    is accepted; docs/pages.md describes the settings.

    Examples: `engarde page`, `engarde page --tenant "Larkspur Outdoor" --port 8001`
    """
    _check_method()
    load_database_settings()  # so that an embedded default that does not run says how to start it
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not responds(f"{url}/health/live"):
        raise NoLinks(
            f"Nothing serves the pages at {url}. Start them with `engarde dev` (in a checkout: `make dev`), or"
            " name the port of their API with --port."
        )
    link = new_link(url, tenant)
    console.print("Open this link in a browser; it logs in once, within ten minutes:\n")
    console.print(f"  [bold]{link}[/]\n", soft_wrap=True, highlight=False)


def has_links() -> bool:
    """Return whether people log in to the pages with links: in the embedded default, without a provider."""
    return is_embedded() and load_login_settings().oidc is None


def new_link(url: str, tenants: list[str] | None = None) -> str:
    """Create a link to the pages at `url`, with those tenants of the embedded default that are named, or all.

    Raises:
        InvalidInput: there is no such tenant.
        NoLinks: the link cannot be stored.
    """
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.web.login_links import LoginLinks

    with connect(load_database_settings().database_url.get_secret_value()) as connection:
        ids = _tenant_ids(connection, tenants)
    home = load_pipeline_settings().engarde_home
    try:
        token = LoginLinks(home).create(ids)
    except OSError as error:
        raise NoLinks(f"The link cannot be stored in {home}: {error.strerror or error}.") from None
    return f"{url}/login/link?token={token}"


def _check_method() -> None:
    oidc = load_login_settings().oidc
    if oidc:
        raise NoLinks(f"OIDC_ISSUER is set: people log in with OpenID Connect at {oidc.public_url}, not a link.")
    if is_embedded():
        return
    if is_unconfigured():
        raise NoLinks("There are no pages here yet. Start them with `engarde dev` (in a checkout: `make dev`).")
    raise NoLinks(
        "Links are only for the sample data of `engarde dev`. BigQuery or Postgres are configured here. So that"
        " people can log in, set OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and API_PUBLIC_URL for the API"
        " (docs/pages.md)."
    )


def _tenant_ids(connection: "psycopg.Connection", tenants: list[str] | None) -> list[UUID]:
    from engarde_pipeline.api.sessions import MAX_TENANTS

    known = connection.execute("SELECT id, name FROM tenants ORDER BY name, id").fetchall()
    if not known:
        raise InvalidInput("The database has no tenants; `engarde dev` adds those of the sample data.")
    found = {id_: name for id_, name in known if tenants is None or {str(id_), name} & {*tenants}}
    missing = [each for each in tenants or () if each not in {*found.values(), *map(str, found)}]
    if missing:
        names = ", ".join(name for _, name in known[:10])
        raise InvalidInput(f"There is no tenant {', '.join(missing)}. These exist: {names}")
    if len(found) > MAX_TENANTS:
        print_warning(
            f"The pages show the first {MAX_TENANTS} of {len(found):,} tenants; --tenant chooses others."
        )
    return list(found)[:MAX_TENANTS]
