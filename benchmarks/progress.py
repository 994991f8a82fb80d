"""Progress on the terminal while the benchmark runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars:
    """One bar for the whole run and one for the part that is running."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,  # it shares the processor with what is measured
        )
        self._whole = self._progress.add_task("benchmark", total=None)

    @contextmanager
    def showing(self, seconds: float) -> Iterator[None]:
        """Show the bars; the run takes about `seconds`."""
        self._progress.update(self._whole, total=seconds)
        with self._progress:
            yield

    @contextmanager
    def part(self, description: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Show a part while it runs; yields what advances its bar by one.

        Where there is no terminal to show bars on, a line says afterwards how long the part took.
        """
        task = self._progress.add_task(f"  {description}", total=total)
        started = time.monotonic()
        try:
            yield lambda: self._progress.advance(task)
        finally:
            self._progress.remove_task(task)
            if not self._console.is_terminal:
                self._console.print(f"{description}: {time.monotonic() - started:.1f} s", highlight=False)

    def done(self, seconds: float) -> None:
        """Advance the whole run by a part that was expected to take `seconds`."""
        self._progress.advance(self._whole, seconds)
