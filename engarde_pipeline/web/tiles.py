"""Tiles: figures of a period beside those of the period before."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from engarde_pipeline.web.metric_values import Sums, label, shown

Tone = Literal["good", "bad", ""]

TILES = ("spend", "revenue", "roas", "ctr", "clicks", "conversions")

_GOOD_IF_MORE = {"revenue", "roas", "ctr", "clicks", "conversions"}
"""Spending more is neither good nor bad by itself."""


@dataclass(frozen=True)
class Change:
    """How a figure differs from that of the period before, in words; the tone only repeats `word`."""

    text: str
    word: Literal["up", "down", ""] = ""
    tone: Tone = ""

    @property
    def arrow(self) -> str:
        """The direction as a sign."""
        return {"up": "▲", "down": "▼", "": ""}[self.word]


@dataclass(frozen=True)
class Tile:
    """A figure, the one before, and the change. Without `before`, the change says why there is none."""

    name: str
    value: str
    before: str | None
    change: Change


def tiles(now: Sums | None, before: Sums | None, *, are_comparable: bool = True) -> list[Tile]:
    """Return the tiles of a currency; None: it has no numbers in the period."""
    return [_tile(name, now or Sums({}), before, are_comparable) for name in TILES]


def _tile(name: str, now: Sums, before: Sums | None, are_comparable: bool) -> Tile:
    value = now.value(name)
    earlier = before.value(name) if before else None
    change = Change("no data before") if before is None else Change("not comparable")
    if before and are_comparable:
        change = change_of(name, value, earlier)
    return Tile(label(name), shown(name, value), None if earlier is None else shown(name, earlier), change)


def change_of(name: str, now: Decimal | None, before: Decimal | None) -> Change:
    """Return the change of a figure, in percent of the one before."""
    if before is None:
        return Change("no value before")
    if now is None:
        return Change("no value now")
    if now == before:
        return Change("unchanged")
    word: Literal["up", "down"] = "up" if now > before else "down"
    tone: Tone = "" if name not in _GOOD_IF_MORE else "good" if word == "up" else "bad"
    if not before:
        return Change("from 0", word, tone)
    percent = abs(100 * (now - before) / before).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return Change(f"{percent:,}%" if percent else "less than 0.1%", word, tone)
