"""Responses with parts that Postgres has built as JSON.

The response models only document it; a test compares the two.
"""

import json

from fastapi import Response


def json_response(name: str, array: bytes | str, trust: str = "", **others: object) -> Response:
    """Return a successful response with the JSON `array` as the field `name`, after the other fields.

    `trust` is a JSON object with further fields.
    """
    envelope = json.dumps({"success": True, **others}, default=str)[:-1]
    if trust:
        envelope = f"{envelope}, {trust.strip('{ }')}"
    array = array.encode() if isinstance(array, str) else array
    return Response(b'%b, "%b": %b}' % (envelope.encode(), name.encode(), array), media_type="application/json")
