"""Waits until the processes of `engarde dev` are ready, and says where they are."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from rich.padding import Padding
from rich.table import Table

from engarde_pipeline.cli.terminal import announce, console
from engarde_pipeline.telemetry.logs import is_json

_POLL_SECONDS = 0.3
_RESPONSE_SECONDS = 5

_STATE = """{
    workspaceOrError {... on Workspace {locationEntries {loadStatus}}}
    instance {daemonHealth {allDaemonStatuses {healthy required}}}
}"""


@dataclass(frozen=True)
class Service:
    """A process of `engarde dev`: what messages call it, and the name and address of what it serves."""

    name: str
    process: subprocess.Popen[bytes]
    serves: str
    address: str
    is_ready: Callable[[], bool]


def wait_until_ready(services: Sequence[Service], page: str | None, new_link: Callable[[], str] | None) -> None:
    """Wait until all services are ready, and print their addresses; return if one ends.

    The address of the `page` comes first, if it is served; with `new_link`, it is a link that logs in.
    """
    waiting = list(services)
    while waiting:
        if any(service.process.poll() is not None for service in services):
            return
        waiting = [service for service in waiting if not service.is_ready()]
        time.sleep(_POLL_SECONDS)
    addresses = [("Pages", page)] if page else []
    addresses += [(service.serves, service.address) for service in services]
    if is_json():  # without a link: who reads the log must not log in with it
        announce("Ready: " + ", ".join(f"{serves} {address}" for serves, address in addresses))
        return
    console.print("Everything is ready.")
    if new_link:
        console.print("Open this link to see the pages; it logs in once, within ten minutes:\n")
        # A line that is broken here could not be clicked.
        console.print(f"  [bold]{new_link()}[/]\n", soft_wrap=True, highlight=False)
        console.print("[bold]engarde page[/] prints another one. The addresses:")
    table = Table.grid(padding=(0, 3))
    for serves, address in addresses:
        table.add_row(serves, f"[bold]{address}[/]")
    console.print(Padding(table, (1, 2)))
    console.print(
        "To sync dates in the Dagster UI, choose Jobs, performance_sync, Materialize all, and a range of dates."
        " Press Ctrl-C to stop."
    )


def first_to_end(services: Sequence[Service]) -> tuple[str, int]:
    """Wait until one of the processes has ended, and return its name and exit code."""
    while True:
        for service in services:
            if (code := service.process.poll()) is not None:
                return service.name, code
        time.sleep(_POLL_SECONDS)


def responds(url: str) -> bool:
    """Return whether a GET request succeeds."""
    try:
        with urlopen(url, timeout=_RESPONSE_SECONDS):  # noqa: S310  a local address of ours
            return True
    except OSError:
        return False


def dagster_is_ready(address: str) -> bool:
    """Return whether Dagster has loaded its code locations, or could not, and its daemons run."""
    request = Request(  # noqa: S310  a local address of ours
        f"{address}/graphql", json.dumps({"query": _STATE}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urlopen(request, timeout=_RESPONSE_SECONDS) as response:  # noqa: S310
            state: dict[str, Any] = json.load(response)["data"]
    except (OSError, ValueError):
        return False
    entries = state["workspaceOrError"]["locationEntries"]
    daemons = state["instance"]["daemonHealth"]["allDaemonStatuses"]
    return bool(entries) and all(
        (
            *(entry["loadStatus"] == "LOADED" for entry in entries),
            *(daemon["healthy"] for daemon in daemons if daemon["required"]),
        )
    )
