"""Responses with an array that Postgres has built as JSON.

The response models only document it; a test compares the two.
"""

import json

from fastapi import Response


def json_response(name: str, array: bytes | str, **others: object) -> Response:
    """Return a successful response with the JSON `array` as the field `name`, after the other fields."""
    envelope = json.dumps({"success": True, **others}, default=str).encode()
    array = array.encode() if isinstance(array, str) else array
    return Response(b'%b, "%b": %b}' % (envelope[:-1], name.encode(), array), media_type="application/json")
