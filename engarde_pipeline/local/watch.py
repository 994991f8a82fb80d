"""Interrupts this process as soon as one of the local servers that it uses has ended."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread, main_thread

from engarde_pipeline.local.errors import ServerEnded
from engarde_pipeline.local.processes import Server

_POLL_SECONDS = 1.0

_SECONDS_TO_END = 10.0
"""How long a command may take to end. Its own retries could go on for minutes, because servers can come back."""

_ended: list[ServerEnded] = []


def ended_server() -> ServerEnded | None:
    """Return the error of the server that has ended while it was watched, if one has."""
    return _ended[0] if _ended else None


@contextmanager
def watching(
    servers: Sequence[Server], on_end: Callable[[ServerEnded], None], *, may_exit: bool
) -> Iterator[None]:
    """Interrupt the main thread when one of `servers` has ended, after a call of `on_end`.

    With `may_exit`, the process ends even if the block does not end soon. As after a kill, the next process finds
    the other server, and a run that had not ended is marked as failed by the sensor `lost_runs`.

    Raises:
        ServerEnded: at the end of the block, whatever else it raised, if a server has ended.
    """
    left = Event()

    def watch() -> None:
        while not left.wait(_POLL_SECONDS):
            if _has_ended(servers, on_end):
                signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
                if may_exit and not left.wait(_SECONDS_TO_END):
                    on_end(_ended[0])  # again, after the warnings of the retries
                    os._exit(1)
                return

    thread = Thread(target=watch, name="local-servers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        with suppress(KeyboardInterrupt):  # of the thread
            thread.join()
        # An error of the block is a consequence, and may have come before the thread looked.
        if _ended or _has_ended(servers, on_end):
            raise _ended.pop()


def _has_ended(servers: Sequence[Server], on_end: Callable[[ServerEnded], None]) -> bool:
    for server in servers:
        try:
            server.check()
        except ServerEnded as error:
            _ended.append(error)
            on_end(error)
            return True
    return False
