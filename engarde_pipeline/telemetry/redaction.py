"""Removes secrets from text that is logged."""

import os
import re
from functools import cache

_HIDDEN = "***"

_PATTERNS = (
    # A password in an address: postgresql://user:password@host. The address of a port has none.
    (re.compile(r"\b([a-zA-Z][\w+.-]*://[^\s:/?#@\"']*:)(?!\d+[/?#])[^\s\"']+(?=@)"), rf"\1{_HIDDEN}"),
    # password=..., as in a connection string or a query, with or without quotes.
    (
        re.compile(
            r"(?i)\b([\w-]*(?:password|passwd|secret|token|api_?key|_key)=)('[^']*'|\"[^\"]*\"|[^\s&,;'\")]+)"
        ),
        rf"\1{_HIDDEN}",
    ),
    # "private_key": "...", as in JSON or the repr of a dictionary. The quotes may be escaped.
    (
        re.compile(
            r"(?i)((\\*[\"'])[\w-]*(?:password|passwd|secret|token|_key|apikey|authorization)\2\s*:\s*\2)"
            r"(?:(?!\2).)*(?=\2)"
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)"),
        rf"\1{_HIDDEN}\2",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+(?=\S*[\d._~+/=])[\w.~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _HIDDEN),  # a JSON web token
    (re.compile(r"(https://hooks\.slack\.com/[a-z]+/)[\w/-]+"), rf"\1{_HIDDEN}"),
)

_LOOKS_SECRET = re.compile(r"(?i)://|=|[\"']\s*:|-----BEGIN|\b(?:bearer|basic)\s|\beyJ")
"""Most lines have none of this, and need not be searched for each pattern."""

_SECRET_VARIABLE = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$|CREDENTIALS|WEBHOOK")
_MINIMUM_LENGTH = 8
"""Shorter values of variables could be a part of ordinary words."""


def redact(text: str) -> str:
    """Return `text` without passwords, tokens and keys: what looks like one, or is in a variable for one."""
    if values := _values():
        text = values.sub(_HIDDEN, text)
    if not _LOOKS_SECRET.search(text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


@cache
def _values() -> re.Pattern[str] | None:
    """Return a pattern of the secrets in the environment, as it is when the first line is logged."""
    secrets = {
        value
        for name, value in os.environ.items()
        if len(value) >= _MINIMUM_LENGTH and _SECRET_VARIABLE.search(name)
    }
    return re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None
