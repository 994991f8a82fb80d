"""Responses with parts that Postgres has built as JSON.

The response models only document it; a test compares the two.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from fastapi import Response
from starlette.types import Receive, Scope, Send

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class JsonArray:
    """A JSON array with the digest of its text, so that a large one is hashed once and not in every response."""

    text: bytes
    digest: bytes

    @classmethod
    def of(cls, text: str) -> "JsonArray":
        """Return the array with this text."""
        encoded = text.encode()
        return cls(encoded, blake2b(encoded, digest_size=_DIGEST_BYTES).digest())


class JsonResponse(Response):
    """A successful response: a JSON object whose last field is an array.

    Its text is put together when it is sent, because it may not be: the client has it, or gets it compressed.
    """

    media_type = "application/json"

    def __init__(self, fields: bytes, array: JsonArray) -> None:
        """Create the response; `fields` is the text before the array."""
        self._fields, self._array = fields, array
        super().__init__()

    @cached_property
    def digest(self) -> str:
        """A digest of the text."""
        return blake2b(self._fields + self._array.digest, digest_size=_DIGEST_BYTES).hexdigest()

    @property
    def text_bytes(self) -> int:
        """The size of the text."""
        return len(self._fields) + len(self._array.text) + 1

    def text(self) -> bytes:
        """Return the text."""
        return b"%b%b}" % (self._fields, self._array.text)

    def set_compressed(self, body: bytes, encoding: str) -> None:
        """Set the body that is sent in place of the text."""
        self.body = body
        self.headers["Content-Encoding"] = encoding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        self.body = self.body or self.text()
        self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def json_response(name: str, array: JsonArray | str, trust: str = "", **others: object) -> JsonResponse:
    """Return a successful response with the JSON `array` as the field `name`, after the other fields.

    `trust` is a JSON object with further fields.
    """
    envelope = json.dumps({"success": True, **others}, default=str)[:-1]
    if trust:
        envelope = f"{envelope}, {trust.strip('{ }')}"
    array = array if isinstance(array, JsonArray) else JsonArray.of(array)
    return JsonResponse(f'{envelope}, "{name}": '.encode(), array)
