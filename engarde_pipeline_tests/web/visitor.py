"""Somebody who looks at the pages with a browser that has no JavaScript."""

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx

from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline_tests.api.service import SECRET, Service


class Visitor:
    """A person with a session of a tenant."""

    def __init__(self, service: Service, tenant: UUID, user: str = "u1") -> None:
        self.client = httpx.Client(
            base_url=service.url,
            cookies={COOKIE: signed(new_session(user, (tenant,)), SECRET)},
            headers={"Sec-Fetch-Site": "same-origin"},
            timeout=30,
        )

    def get(self, path: str, **params: Any) -> httpx.Response:
        """Open a page."""
        return self.client.get(path, params=params or None)

    def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form, without following where it leads."""
        return self.client.post(path, data=fields)

    def read(self, path: str, **params: Any) -> str:
        """Return the words of a page, which must be there."""
        answer = self.get(path, **params)
        assert answer.status_code == 200, (answer.status_code, words(answer))
        return words(answer)

    def submit(self, page: httpx.Response, action: str, **changes: Any) -> httpx.Response:
        """Send the form of a page that has the button `action`, as it is filled in, with some changes."""
        fields = form_fields(page, action)
        return self.post("/sync", **{**fields, **changes, "action": action})


class _Page(HTMLParser):
    """The text of a page, its links and its forms."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.forms: list[list[tuple[str, str, bool]]] = []
        self._ignored = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "style", "title"):
            self._ignored += 1
        elif tag == "form":
            self.forms.append([])
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag in ("input", "button") and self.forms and given.get("name"):
            is_off = given.get("type") == "checkbox" and "checked" not in given
            self.forms[-1].append((given["name"] or "", given.get("value") or "", tag == "button" or is_off))

    def handle_endtag(self, tag: str) -> None:
        self._ignored -= tag in ("script", "style", "title")

    def handle_data(self, data: str) -> None:
        if not self._ignored:
            self.texts.append(data)


def _parsed(page: httpx.Response) -> _Page:
    parser = _Page()
    parser.feed(page.text)
    return parser


def words(page: httpx.Response) -> str:
    """Return the text of a page on one line."""
    return " ".join(" ".join(_parsed(page).texts).split())


def links(page: httpx.Response) -> list[str]:
    """Return the addresses of the links of a page."""
    return _parsed(page).links


def form_fields(page: httpx.Response, action: str) -> Mapping[str, Any]:
    """Return the fields of the form that has the button `action`."""
    form = next(form for form in _parsed(page).forms if ("action", action, True) in form)
    fields: dict[str, Any] = {}
    for name, value in _sent(form):
        fields[name] = [*fields[name], value] if name in fields else [value]
    return fields


def _sent(form: list[tuple[str, str, bool]]) -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value, is_left_out in form if not is_left_out)
