"""The ports that a command listens on: a port that is in use is an error that names the option to change."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from engarde_pipeline.core.errors import EngardeError

_LAST = 65535


class PortInUse(EngardeError):
    """A command cannot listen on a port."""


@dataclass(frozen=True)
class Port:
    """A port: what listens on it, and the option that sets it."""

    number: int
    listener: str
    option: str


def check_ports(command: str, host: str, ports: Sequence[Port]) -> None:
    """Check that a command can listen on its ports, before it starts anything.

    Raises:
        PortInUse: it cannot listen on one; the message has the options for ports that are free.
    """
    problems, options = [], []
    chosen = {port.number for port in ports}
    for port in ports:
        if error := _error(host, port.number):
            problems.append(f"{port.listener} cannot listen on port {port.number}: {error}.")
            candidates = (number for number in range(port.number + 1, _LAST + 1) if number not in chosen)
            free = next((number for number in candidates if not _error(host, number)), 0)
            chosen.add(free)
            options.append(f"{port.option} {free or '...'}")
    if problems:
        choose = "Choose another one" if len(problems) == 1 else "Choose others"
        raise PortInUse(f"{' '.join(problems)} {choose}, such as `{command} {' '.join(options)}`.")


def _error(host: str, number: int) -> str | None:
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, number), family=family).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None
