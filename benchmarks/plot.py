"""The report's plot: how many rows per second each program loads, for the first time and when nothing changed."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.peer_loads import FIRST, LIMIT, OURS, OURS_OVER_ONE
from benchmarks.peers import PEERS
from benchmarks.samples import Samples
from benchmarks.sizes import Size

_OURS = {OURS: "engarde_pipeline", OURS_OVER_ONE: "engarde_pipeline,\none connection"}
_OLD = "the old design"
_COLOURS = dict(zip(_OURS.values(), ("#1f6f78", "#6fa9b0"), strict=True))
_GREY, _LINE = "#c3cbcd", "#b5483a"


def draw(path: Path, samples: Samples, size: Size) -> bool:
    """Draw the plot to `path`, whose suffix says the format; return whether anything to draw was measured."""
    first, nothing = (_rates(samples, *names) for names in ((FIRST, "old.first.rate"), ("0", "old.nothing.rate")))
    if not set(_OURS.values()) & set(first):
        return False
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    figure.suptitle(f"Rows per second, {size.peer_rows:,} rows into an indexed table; more is better", fontsize=11)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, first, "First load")
    _bars(right, nothing, "Again, nothing changed")
    left.invert_yaxis()  # the axes share it
    if limit := samples.median(f"peers.{LIMIT}.{FIRST}"):
        left.axvline(limit, color=_LINE, linestyle="--", linewidth=1.2)
        left.set_xlabel("- - limit: COPY over one connection", color=_LINE, fontsize=9, loc="left")
    # The same figures make the same file, and its text stays text.
    with mpl.rc_context({"svg.hashsalt": "engarde", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    return True


def _rates(samples: Samples, load: str, old: str) -> dict[str, float]:
    names = {label: f"peers.{name}.{load}" for name, label in _OURS.items()}
    names |= {peer.label: f"peers.{peer.name}.{load}" for peer in PEERS} | {_OLD: old}
    return {label: rate for label, name in names.items() if (rate := samples.median(name))}


def _bars(axes: Axes, rates: Mapping[str, float], title: str) -> None:
    colours = [_COLOURS.get(label, _GREY) for label in rates]
    bars = axes.barh(list(rates), list(rates.values()), color=colours)
    background = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides the line of the limit
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=3, fontsize=8, bbox=background)
    axes.set_title(title, fontsize=10, loc="left")
    axes.margins(x=0.18)
    axes.set_xticks([])
    axes.tick_params(labelsize=9, left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
