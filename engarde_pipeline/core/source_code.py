"""The address of a branch, tag or commit on GitHub or GitLab, as the browser shows it."""

import re
from dataclasses import dataclass
from typing import Literal

_ADDRESS = re.compile(
    r"(?P<repository>https?://[^/?#\s]+/[^?#\s]+?)/(?P<gitlab>-/)?tree/(?P<revision>[^?#\s]*[^/?#\s])/?"
)


@dataclass(frozen=True)
class SourceCode:
    """A revision of a repository, in the terms of Dagster's code references."""

    repository: str
    revision: str
    platform: Literal["github", "gitlab"]


def parse(address: str) -> SourceCode:
    """Return the parts of `address`.

    Raises:
        ValueError: it is not the address of a branch.
    """
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise ValueError("must look like https://github.com/owner/name/tree/branch, or GitLab's /-/tree/branch")
    return SourceCode(parts["repository"], parts["revision"], "gitlab" if parts["gitlab"] else "github")
