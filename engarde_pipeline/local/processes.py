"""Finds and ends our server processes, identified by their command line and never by a stored pid alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from engarde_pipeline.local.errors import ServerEnded, end_of, extra_missing


@dataclass(frozen=True)
class Server:
    """A running server of ours: its name in messages, its pid and its log."""

    name: str
    pid: int
    log: Path

    def check(self) -> None:
        """Check that the server is running.

        Raises:
            ServerEnded: it has ended; the message names the process and quotes the end of its log.
        """
        if not alive(self.pid):
            raise ServerEnded(
                f"{self.name} (process {self.pid}) has ended while it was used. Its log, {self.log}, ends"
                f" with:\n{end_of(self.log)}\nRun the command again: it starts the server again, with its data."
            )


def find(*arguments: str) -> Iterator[int]:
    """Yield the pids of the processes that have all of `arguments` on their command line."""
    return (process.pid for process in _psutil().process_iter() if runs(process.pid, *arguments))


def find_in(directory: Path, name: str) -> Iterator[int]:
    """Yield the pids of the processes called `name` whose working directory is `directory`."""
    for process in _psutil().process_iter():
        try:
            if process.name() == name and process.cwd() == str(directory):
                yield process.pid
        except _psutil().Error:
            continue


def arguments_of(pid: int) -> list[str]:
    """Return the process's command line; empty if it has ended, is a zombie, or cannot be read."""
    try:
        return list(_psutil().Process(pid).cmdline())
    except _psutil().Error:
        return []


def runs(pid: int, *arguments: str) -> bool:
    """Whether `pid` is a live process with all of `arguments` on its command line."""
    return set(arguments) <= set(arguments_of(pid))


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie; a new process has no command line yet."""
    try:
        return bool(_psutil().Process(pid).status() != _psutil().STATUS_ZOMBIE)
    except _psutil().NoSuchProcess:
        return False


def end(pid: int, timeout: float = 10.0) -> None:
    """Terminate a process, and kill it if it has not ended after `timeout` seconds."""
    try:
        process = _psutil().Process(pid)
        process.terminate()
        try:
            process.wait(timeout)
        except _psutil().TimeoutExpired:
            process.kill()
            process.wait(timeout)
    except _psutil().NoSuchProcess:
        return


@cache
def _psutil() -> Any:
    # It is part of the `local` extra, without which this package must still be importable.
    try:
        return import_module("psutil")
    except ImportError as error:
        raise extra_missing(error) from error
