"""Somebody who looks at the pages with a browser that has no JavaScript, and what is to be read there."""

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx

from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline_tests.api.service import SECRET, Service

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

_CELLS = ("th", "td")
_NOT_READ = ("head", "script")


def session_cookie(tenant: UUID, *others: UUID, user: str = "u1") -> str:
    """Return the cookie of a session that shows the first of its tenants."""
    return signed(new_session(user, (tenant, *others)), SECRET)


def browser(service: Service, *tenants: UUID, user: str = "u1", **options: Any) -> httpx.Client:
    """Return a client with cookies of its own, and the session of these tenants, if there are any."""
    client = httpx.Client(base_url=service.url, timeout=30, **options)
    if tenants:
        client.cookies.set(COOKIE, session_cookie(*tenants, user=user), domain=client.base_url.host)
    return client


class Html(HTMLParser):
    """A page: its text, its links and forms, and its tables by the id of the element around them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.links: list[str] = []
        self.forms: list[list[tuple[str, str, bool]]] = []
        """The fields of each form: name, value, and whether it is sent only if it is chosen."""
        self.tables: dict[str, list[list[str]]] = {}
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._cell: list[str] | None = None
        self._not_read = 0
        self.feed(source)
        self.close()

    @property
    def text(self) -> str:
        """The text, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def fields(self, action: str) -> Mapping[str, Any]:
        """Return the fields of the form that has the button `action`, as it is filled in."""
        form = next(form for form in self.forms if ("action", action, True) in form)
        fields: dict[str, Any] = {}
        for name, value, is_left_out in form:
            if not is_left_out:
                fields[name] = [*fields[name], value] if name in fields else [value]
        return fields

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        given = dict(attrs)
        if identity := given.get("id"):
            self._ids.append(identity)
        if tag in _NOT_READ:
            self._not_read += 1
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "form":
            self.forms.append([])
        elif tag in ("input", "button") and self.forms and given.get("name"):
            is_off = given.get("type") == "checkbox" and "checked" not in given
            self.forms[-1].append((given["name"] or "", given.get("value") or "", tag == "button" or is_off))
        elif tag == "table":
            self.tables[self._ids[-1].removesuffix("-scroll") if self._ids else ""] = []
        elif tag == "tr":
            [*self.tables.values()][-1].append([])
        elif tag in _CELLS:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        self._not_read -= tag in _NOT_READ
        if tag in _CELLS and self._cell is not None:
            [*self.tables.values()][-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Add text."""
        if self._not_read:
            return
        self._texts.append(data)
        if self._cell is not None:
            self._cell.append(data)


def text_of(page: httpx.Response) -> str:
    """Return what is to be read on a page, on one line."""
    return Html(page.text).text


class Visitor:
    """A person with a session, which shows the first of its tenants."""

    def __init__(self, service: Service, tenant: UUID, *others: UUID, user: str = "u1") -> None:
        self.client = browser(service, tenant, *others, user=user, headers=SAME_ORIGIN)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """Open a page."""
        return self.client.get(path, params=params or None)

    def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form, without following where it leads."""
        return self.client.post(path, data=fields)

    def html(self, path: str, **params: Any) -> Html:
        """Return a page, which must be there."""
        answer = self.get(path, **params)
        assert answer.status_code == 200, (answer.status_code, text_of(answer))
        return Html(answer.text)

    def read(self, path: str, **params: Any) -> str:
        """Return the text of a page, which must be there."""
        return self.html(path, **params).text

    def submit(self, page: httpx.Response, action: str, **changes: Any) -> httpx.Response:
        """Send the form of a page that has the button `action`, as it is filled in, with some changes."""
        fields = Html(page.text).fields(action)
        return self.post("/sync", **{**fields, **changes, "action": action})
