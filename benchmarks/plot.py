"""The report's plot: rows per second of everything that loads, and where the whole job's time goes."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.job import PARTS
from benchmarks.samples import Samples
from benchmarks.sizes import Size

_BARS = {
    "limit: COPY BINARY, one connection": "limit.single.rate",
    "limit: COPY BINARY, two connections": "limit.double.rate",
    "limit without foreign keys": "limit.free.rate",
    "ours, first load, one connection": "merge.single.rate",
    "ours, first load": "merge.first.rate",
    "ours, nothing changed": "merge.nothing.rate",
    "ours, 10 % changed": "merge.tenth.rate",
    "dlt, same indexes, first load": "dlt.indexed.first.rate",
    "dlt, same indexes, nothing changed": "dlt.indexed.nothing.rate",
    "dlt, no index, first load": "dlt.plain.first.rate",
    "dlt, no index, nothing changed": "dlt.plain.nothing.rate",
    "old design, first load": "old.first.rate",
    "old design, nothing changed": "old.nothing.rate",
}
_OURS, _OTHERS = "#1f6f78", "#a9b4b8"
_SHARES = ("#31393c", "#7fb7be", "#1f6f78", "#c9a227", "#d3d9db", "#b5483a")


def draw(path: Path, samples: Samples, size: Size) -> None:
    """Draw the plot to `path`; the suffix says the format. What was not measured is left out."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[5, 1])
    _rates(above, samples, size)
    _shares(below, samples)
    # The same figures make the same file, and its text stays text.
    with mpl.rc_context({"svg.hashsalt": "engarde", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _rates(axes: Axes, samples: Samples, size: Size) -> None:
    rates = {label: rate for label, name in _BARS.items() if (rate := samples.median(name))}
    colours = [_OURS if label.startswith("ours") else _OTHERS for label in rates]
    bars = axes.barh(list(rates), list(rates.values()), color=colours)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=3, fontsize=8)
    if rates:
        axes.set_xscale("log")
    axes.set(title=f"Rows per second, {size.rows:,} source rows (logarithmic)")
    axes.margins(x=0.12)
    _plain(axes)


def _shares(axes: Axes, samples: Samples) -> None:
    left = 0.0
    for part, colour in zip((*PARTS, "dagster"), _SHARES, strict=True):
        took = samples.median(f"job.{part}") or 0.0
        axes.barh(["whole job"], [took], left=left, color=colour, label=f"{part} {took:.1f} s")
        left += took
    axes.legend(ncols=6, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    axes.set_xlim(0, left or 1)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
