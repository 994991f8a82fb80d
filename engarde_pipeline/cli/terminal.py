"""The terminal: consoles for output and errors, signals, and the date options."""

import signal
import unicodedata
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)

_DATE = ["%Y-%m-%d"]


def visible(text: str) -> str:
    """Return `text` with its control characters escaped, except newlines, so that it cannot control the terminal.

    For text from BigQuery, Postgres, a run or the environment.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _ESCAPED and character != "\n"
        else character
        for character in text
    )


# Control characters, format characters (which can reverse the text) and surrogates (which cannot be encoded).
_ESCAPED = ("Cc", "Cf", "Cs")


def handle_interrupts() -> None:
    """Make Ctrl-C and SIGTERM raise KeyboardInterrupt, and keep child processes from inheriting them as ignored.

    A shell starts background commands with Ctrl-C ignored, and Dagster then ignores SIGTERM, too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


StartDate = Annotated[
    datetime, typer.Option("--start", formats=_DATE, metavar="DATE", help="The first date, YYYY-MM-DD.")
]
EndDate = Annotated[
    datetime,
    typer.Option("--end", formats=_DATE, metavar="DATE", help="The last date, YYYY-MM-DD (inclusive)."),
]
