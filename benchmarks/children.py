"""Fresh processes: what is measured in one pays for its own start and shows its own memory."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ChildFailed(Exception):
    """A measured process ended with an error; its last words are in the message."""


def run(
    directory: Path, module: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `python -m module`, which gets the moment of its start as its first argument; return its answer.

    Compiled modules are kept in `directory`: whether an installation has them, or may write them, must not
    decide what a start costs.

    Raises:
        ChildFailed: it did not end well.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.run(
        [sys.executable, "-m", module, repr(time.time()), *map(str, arguments)],
        cwd=ROOT,
        env={**inherited, **(environment or {}), "PYTHONPYCACHEPREFIX": str(directory / "compiled")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise ChildFailed(f"{module} ended with {process.returncode}:\n{process.stderr[-4000:]}")
    return dict(json.loads(process.stdout.splitlines()[-1]))


def peak_memory() -> int:
    """Return the most memory this process has had resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it survives exec, and so includes the process that started this one.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
