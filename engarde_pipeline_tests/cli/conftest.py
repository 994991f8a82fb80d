"""Fixtures: the command line, run in this process as its console script runs it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engarde_pipeline.cli import main
from engarde_pipeline.cli.terminal import console, errors


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Everything it said on one line, so that a test does not depend on where lines break."""
        return " ".join(f"{self.out} {self.err}".replace("│", " ").split())


Engarde = Callable[..., Said]


@pytest.fixture
def engarde(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Engarde:
    """`engarde("sync", "--start", ...)`, on a terminal of `width` columns."""

    def run(*arguments: object, width: int = 100) -> Said:
        for terminal in (console, errors):
            monkeypatch.setattr(terminal, "width", width)
        monkeypatch.setattr(sys, "argv", ["engarde", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`environment(NAME="value")` sets variables for the rest of the test."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setitem(os.environ, name, value)

    return change
