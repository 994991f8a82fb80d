"""What the tests of the pages share: requests as a browser sends them."""

import re
from html import unescape
from typing import Any
from uuid import UUID

import httpx

from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline_tests.api.service import SECRET, Service

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def browser(service: Service, *tenants: UUID, user: str = "ada", **options: Any) -> httpx.Client:
    """Return a client with cookies of its own, and the session of these tenants, if there are any."""
    client = httpx.Client(base_url=service.url, timeout=30, **options)
    if tenants:
        client.cookies.set(COOKIE, signed(new_session(user, tenants), SECRET), domain=client.base_url.host)
    return client


def text_of(answer: httpx.Response) -> str:
    """Return what is to be read on a page, on one line."""
    content = re.sub(r"<(head|script)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", content)).split())
