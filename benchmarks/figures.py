"""Figures as people read them."""

_KIB = 1024


def rate(rows_per_second: float) -> str:
    """Return rows per second, to three digits."""
    return f"{float(f'{rows_per_second:.3g}'):,.0f} rows/s"


def seconds(value: float) -> str:
    """Return seconds, precise enough for short ones."""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.3g} s"


def milliseconds(value: float) -> str:
    """Return milliseconds."""
    return f"{value:.3g} ms"


def size_of(value: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if value < _KIB:
            return f"{value:.3g} {unit}"
        value /= _KIB
    return f"{value:.3g} GB"
