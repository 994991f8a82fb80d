"""Sparklines: the path of a line that is as small as a word, drawn by the server."""

from collections.abc import Sequence
from decimal import Decimal

WIDTH, HEIGHT = 120, 28

DATES = 90
"""A sparkline shows so many of the last dates of a range."""

_MARGIN = 2


def path(values: Sequence[Decimal | None]) -> str:
    """Return the path in a box of `WIDTH` by `HEIGHT`, with 0 at its bottom and the highest value at its top."""
    highest = max((value for value in values if value is not None), default=Decimal(0))
    step = (WIDTH - 2 * _MARGIN) / max(1, len(values) - 1)
    parts: list[str] = []
    is_drawing = False
    for number, value in enumerate(values):
        if value is None:
            is_drawing = False  # a gap
            continue
        share = float(value / highest) if highest else 0.0
        x, y = round(_MARGIN + number * step), round(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN))
        # A date between two gaps is a dot: a line without length, with round ends.
        parts.append(f"{'L' if is_drawing else 'M'}{x} {y}" + ("" if is_drawing else "h0"))
        is_drawing = True
    return "".join(parts)
