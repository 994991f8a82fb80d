"""The numbers of dates that a page about dates can show."""

from engarde_pipeline.api.errors import invalid

RANGES = (30, 90, 365)


def checked_days(days: int) -> int:
    """Return `days`.

    Raises:
        Problem: 422, it is none of `RANGES`.
    """
    if days not in RANGES:
        raise invalid("days", f"use one of {', '.join(map(str, RANGES))}")
    return days
