"""Requests whose body has a limited size, also if its length is not known before it is read."""

from collections.abc import AsyncGenerator

from fastapi import HTTPException, Request

MAX_BODY_BYTES = 2**20
"""A request that lists a thousand campaigns has less than a tenth of this."""


class BoundedRequest(Request):
    """A request that stops reading its body after `MAX_BODY_BYTES`."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the body.

        Raises:
            HTTPException: 413, the body is larger.
        """
        read = 0
        async for chunk in super().stream():
            read += len(chunk)
            if read > MAX_BODY_BYTES:
                raise HTTPException(413, f"The request body has more than {MAX_BODY_BYTES} bytes.")
            yield chunk
