"""Templates and static files of the pages, and the headers that protect them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles as _StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.types import Scope

from engarde_pipeline.api.sessions import session_of
from engarde_pipeline.core.currencies import MALFORMED

STATIC = "/static"

_FILES = Path(__file__).parent / "static"

HEADERS = {
    # Only files of this server: no inline script or style, whatever a campaign's name has in it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Cookie, HX-Request",
}


class StaticFiles(_StaticFiles):
    """The pages' own files. Their addresses have a digest of the content, so a browser may keep them."""

    def __init__(self) -> None:
        super().__init__(directory=_FILES)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        # Another version of this server may have another file under this address.
        is_current = scope["query_string"].decode("latin-1") == _static(path).partition("?")[2]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def render(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """Return a page. Templates know the `request`, its `session`, which is None before the login, and the ids and
    names of its `tenants`, on pages that need a session.
    """
    known = {"request": request, "session": session_of(request), "tenants": getattr(request.state, "tenants", [])}
    text = _environment().get_template(template).render({**known, **values})
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("engarde_pipeline.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = _static
    environment.filters |= {"money": money, "number": whole, "moment": moment, "currency_name": currency_name}
    return environment


@cache
def _static(name: str) -> str:
    """Return the address of a static file."""
    digest = sha256((_FILES / name).read_bytes()).hexdigest()
    return f"{STATIC}/{name}?{digest[:16]}"


def money(amount: Decimal | float | None) -> str:
    """Return an amount with two decimals; its currency stands beside it."""
    return "–" if amount is None else f"{amount:,.2f}"


def whole(number: Decimal | float | None) -> str:
    """Return a count; conversions can have a fraction."""
    return "–" if number is None else f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


def currency_name(currency: str | None) -> str:
    """Return the name of a currency; amounts without one, or without a valid one, are groups of their own."""
    return "no valid currency" if currency == MALFORMED else currency or "no currency"


def moment(value: datetime) -> str:
    """Return a moment to the minute, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
