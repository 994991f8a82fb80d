"""How long ad platforms restate the numbers of a date."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

OTHERS = "*"
"""Stands for the platforms that are not named."""

MAX_DAYS = 366

DEFAULT = "meta=28,google=30,tiktok=28,*=30"
"""Meta and TikTok attribute conversions for up to 28 days, Google for 30."""

_ENTRY = re.compile(r"\s*([^=,\x00]+?)\s*=\s*([0-9]{1,4})\s*")


@dataclass(frozen=True)
class RestatementDays:
    """The number of the latest dates that each platform may still restate, today (UTC) included."""

    by_platform: Mapping[str, int]
    others: int

    @property
    def longest(self) -> int:
        """The number of the latest dates that any platform may restate."""
        return max(self.others, *self.by_platform.values())


def parse_restatement_days(text: str) -> RestatementDays:
    """Return the days in `text`, such as "meta=28,*=30"; platforms that it does not name keep their defaults.

    Raises:
        ValueError: an entry is malformed or given twice; the message says which one.
    """
    days = _entries(DEFAULT) | _entries(text)
    others = days.pop(OTHERS)
    return RestatementDays(days, others)


def _entries(text: str) -> dict[str, int]:
    days: dict[str, int] = {}
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry)
        if not match or not 1 <= int(match[2]) <= MAX_DAYS:
            raise ValueError(
                f"has the entry {entry.strip()!r}; write platform=days with 1 to {MAX_DAYS} days, such as"
                " meta=28,google=30,*=30, where * stands for the other platforms"
            )
        if match[1] in days:
            raise ValueError(f"has several entries for {match[1]}; keep one of them")
        days[match[1]] = int(match[2])
    return days
