"""One-time links that log in to the pages of the embedded default; `engarde page` creates them.

A link is a file in the home of the embedded default, with its tenants and its expiry. The name of the file is the
digest of the link's token, so who reads the files cannot log in with them.
"""

import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from engarde_pipeline.core.errors import EngardeError

LIFETIME = timedelta(minutes=10)

_TOKEN_BYTES = 24
"""Short enough that the link fits into a line of a terminal."""


_KEPT_SECONDS = 3600
"""Until then, a link that has expired says so; later it is unknown."""


class LinkRefused(EngardeError):
    """A link has expired, was used, or is unknown."""


class LoginLinks:
    """The links of one home."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "login_links"

    def create(self, tenant_ids: Sequence[UUID], lifetime: timedelta = LIFETIME) -> str:
        """Create a link to these tenants, and return its token, which is kept nowhere."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._delete_expired()
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        link = {
            "tenant_ids": [str(each) for each in tenant_ids],
            "expires_at": time.time() + lifetime.total_seconds(),
        }
        descriptor = os.open(self._file(token), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            json.dump(link, opened)
        return token

    def consume(self, token: str) -> tuple[UUID, ...]:
        """Return the tenants of a link, which cannot be used again.

        Raises:
            LinkRefused: it has expired, was used, or is unknown.
        """
        file = self._file(token)
        try:
            link = json.loads(file.read_text())
            file.unlink()  # of several requests at once, one can do this
        except FileNotFoundError:
            raise LinkRefused("This link was used already, or it is not one of this server.") from None
        if link["expires_at"] <= time.time():
            raise LinkRefused(f"This link has expired: it is valid for {LIFETIME.seconds // 60} minutes.")
        return tuple(UUID(each) for each in link["tenant_ids"])

    def _file(self, token: str) -> Path:
        return self._directory / sha256(token.encode(errors="replace")).hexdigest()

    def _delete_expired(self) -> None:
        for file in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another process has been faster
                if file.stat().st_mtime < time.time() - _KEPT_SECONDS:
                    file.unlink()
