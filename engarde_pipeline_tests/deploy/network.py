"""A network of its own, in which processes find each other by names, as in Docker's networks."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from engarde_pipeline_tests.servers import installed_program


class Network:
    """A network namespace with a loopback interface; every name in its /etc/hosts is an address of that."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._enter = ["nsenter", f"--target={holder.pid}", "--net", "--mount", "--"]

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], seconds: float = 300, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with exactly these variables, until it ends."""
        return subprocess.run(
            [*self._enter, *command],
            env={"PATH": os.environ["PATH"], **environment},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command with exactly these variables; nsenter replaces itself by it."""
        with log.open("ab") as opened:
            return subprocess.Popen(
                [*self._enter, *command],
                env={"PATH": os.environ["PATH"], **environment},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextmanager
def network(names: Sequence[str], directory: Path) -> Iterator[Network]:
    """Make a network in which `names` are 127.0.0.1, or skip the test where that is not allowed."""
    hosts, ready = directory / "hosts", directory / "ready"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *names)))
    script = '"$0" link set lo up && mount --bind "$1" /etc/hosts && touch "$2" && exec sleep infinity'
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script, installed_program("ip"), str(hosts), str(ready)],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready.exists():
            if holder.poll() is not None:
                # Also in CI: the kernel or the container's runtime decides this, and no installation changes it.
                pytest.skip("this system does not let the user make a network namespace")
            time.sleep(0.05)
        yield Network(holder)
    finally:
        holder.kill()
        holder.wait()
