"""The terminal: where results and errors go, what Ctrl-C does, and how dates are given."""

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
    """Return `text` so that it commands no terminal: what is not printable is written out; lines stay lines.

    For text from elsewhere: BigQuery, Postgres, a run, the environment.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _COMMANDS and character != "\n"
        else character
        for character in text
    )


# Control, format (these turn the direction of writing) and surrogate characters, which no encoding takes.
_COMMANDS = ("Cc", "Cf", "Cs")


def hear_interrupts() -> None:
    """Have Ctrl-C and SIGTERM raise KeyboardInterrupt, here and, as neither is ignored, in what starts from here.

    A shell that starts a command in the background has it ignore Ctrl-C, and Dagster then has it ignore SIGTERM.
    """
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)


StartDate = Annotated[
    datetime, typer.Option("--start", formats=_DATE, metavar="DATE", help="The first date, YYYY-MM-DD.")
]
EndDate = Annotated[
    datetime,
    typer.Option("--end", formats=_DATE, metavar="DATE", help="The last date, YYYY-MM-DD; it is included."),
]
