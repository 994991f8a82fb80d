"""Imports of many modules at once, without the garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import modules in the block without garbage collection, and leave their objects out of later collections.

    The collector takes a fifth of the time that Dagster, Google's clients and pandas take to import: it goes
    through all objects again and again, and almost none of them is garbage. Later, each full collection would go
    through them, and would copy their memory in the processes that a worker forks.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
    gc.freeze()
