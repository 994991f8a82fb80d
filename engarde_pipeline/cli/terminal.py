"""The terminal: where results and errors go, and how dates are given."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)

_DATE = ["%Y-%m-%d"]

StartDate = Annotated[
    datetime, typer.Option("--start", formats=_DATE, metavar="DATE", help="The first date, YYYY-MM-DD.")
]
EndDate = Annotated[
    datetime,
    typer.Option("--end", formats=_DATE, metavar="DATE", help="The last date, YYYY-MM-DD; it is included."),
]
