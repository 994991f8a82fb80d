"""Reads logs as a log collector does."""

import json
from typing import Any


def parsed(log: str) -> list[dict[str, Any]]:
    """Return the events of a log in JSON, each of whose lines has to be one."""
    events = []
    for line in log.splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            raise AssertionError(f"This line is not JSON: {line!r}") from None
    assert all({"timestamp", "level", "logger", "message"} <= event.keys() for event in events)
    return events
