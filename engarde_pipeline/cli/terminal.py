"""The terminal: consoles for output and errors, signals, and the date options."""

import logging
import signal
import unicodedata
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from engarde_pipeline.telemetry.logs import is_json

logger = logging.getLogger(__name__)

console = Console()
errors = Console(stderr=True)


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


def announce(text: str) -> None:
    """Print a message of a process that logs; in JSON where its log is JSON."""
    if is_json():
        logger.info(Text.from_markup(text).plain)
    else:
        console.print(text)


def print_warning(text: str) -> None:
    """Print a warning; in JSON where the log is JSON."""
    if is_json():
        logger.warning(text)
    else:
        errors.print(f"[bold yellow]Warning:[/] {escape(visible(text))}")


def print_error(error: Exception) -> None:
    """Print the message of an error that was expected; in JSON where the log is JSON."""
    if is_json():
        logger.error(str(error))
    else:
        errors.print(f"[bold red]Error:[/] {escape(visible(str(error)))}")


def handle_interrupts() -> None:
    """Make Ctrl-C and SIGTERM raise KeyboardInterrupt, and keep child processes from inheriting them as ignored.

    A shell starts background commands with Ctrl-C ignored, and Dagster then ignores SIGTERM, too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _date(text: str) -> date:
    from engarde_pipeline.core.dates import InvalidDates, parse_date

    try:
        return parse_date(text)
    except InvalidDates as error:
        raise typer.BadParameter(str(error)) from None


StartDate = Annotated[
    date,
    typer.Option(
        "--start",
        parser=_date,
        metavar="DATE",
        help="The first date: 2026-11-01, today, yesterday, or -7d for seven days ago (UTC).",
    ),
]
EndDate = Annotated[
    date | None,
    typer.Option(
        "--end",
        parser=_date,
        metavar="DATE",
        show_default=False,
        help="The last date, which is included, in the same forms. Default: today (UTC).",
    ),
]


def range_of_dates(start: date, end: date | None) -> list[date]:
    """Return all dates from --start to --end, or to today if that is not given."""
    from engarde_pipeline.core.dates import InvalidDates, requested_dates

    try:
        return requested_dates(start, end)
    except InvalidDates as error:
        raise typer.BadParameter(str(error)) from None
