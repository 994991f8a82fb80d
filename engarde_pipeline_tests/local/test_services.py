"""The embedded default: one owner, found by whoever comes second, gone with its owner, its data kept."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from engarde_pipeline.local import bigquery, postgres, processes
from engarde_pipeline.local.errors import LocalServicesError, ServerEnded
from engarde_pipeline.local.processes import Server
from engarde_pipeline.local.services import running, servers_of
from engarde_pipeline.local.watch import ended_server, watching

# A process that owns the services until it is told to end.
_OWNER = """
import sys
from pathlib import Path
from engarde_pipeline.local.services import running

with running(Path(sys.argv[1])):
    print("running", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    # Not under pytest's own directory, which the user that Postgres runs as may not enter.
    with TemporaryDirectory(prefix="engarde-services-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "home"


def _owner(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def _is_up(home: Path) -> tuple[bool, bool]:
    return postgres.is_running(home), bigquery.find(home) is not None


@pytest.mark.long
def test_they_run_as_long_as_the_block_and_keep_their_data(home: Path) -> None:
    with running(home) as services:
        announced = json.loads((home / "services.json").read_text())
        assert announced == services
        with psycopg.connect(services["DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE kept ()")
    assert _is_up(home) == (False, False)
    assert not (home / "services.json").exists()

    with running(home) as services, psycopg.connect(services["DATABASE_URL"]) as connection:
        connection.execute("SELECT FROM kept")


@pytest.mark.long
def test_whoever_comes_second_uses_them_and_leaves_them_running(home: Path) -> None:
    owner = _owner(home)
    try:
        with running(home) as services:
            assert services == json.loads((home / "services.json").read_text())
        assert _is_up(home) == (True, True)
    finally:
        owner.communicate()
    assert _is_up(home) == (False, False)


@pytest.mark.long
def test_an_emulator_that_does_not_respond_is_left_to_the_commands_that_read_bigquery(home: Path) -> None:
    owner = _owner(home)
    emulator = bigquery.find(home)
    assert emulator is not None
    os.kill(emulator.pid, signal.SIGSTOP)
    try:
        with running(home) as services, psycopg.connect(services["DATABASE_URL"]) as connection:
            connection.execute("SELECT")
    finally:
        os.kill(emulator.pid, signal.SIGCONT)
        owner.communicate()


@pytest.mark.long
def test_after_a_killed_owner_the_next_one_inherits_and_stops_them(home: Path) -> None:
    owner = _owner(home)
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert _is_up(home) == (True, True)

    with running(home) as services:
        psycopg.connect(services["DATABASE_URL"]).close()

    assert _is_up(home) == (False, False)


def test_an_emulator_that_ends_at_its_start_is_an_error_that_quotes_its_log(home: Path) -> None:
    home.mkdir()
    (home / "bigquery").write_text("not a directory")

    with pytest.raises(LocalServicesError, match=r"ended while starting; its log ends with:\n(.|\n)*bigquery"):
        bigquery.start(home)


def test_a_process_is_alive_from_its_start_and_dead_before_it_is_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    assert processes.alive(process.pid)

    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(process.pid)

    process.communicate()
    assert not processes.alive(process.pid)


def _kill_while_watched(server: Server, on_end: Callable[[Exception], None]) -> None:
    with watching([server], on_end, may_exit=False):
        os.kill(server.pid, signal.SIGKILL)
        time.sleep(60)  # interrupted


@pytest.mark.long
@pytest.mark.parametrize("name", ["The embedded Postgres", "The BigQuery emulator"])
def test_a_server_that_ends_interrupts_what_uses_it_and_is_named_with_its_log(home: Path, name: str) -> None:
    said: list[str] = []
    with running(home):
        (server,) = (server for server in servers_of(home) if server.name == name)
        with pytest.raises(ServerEnded, match=rf"{name} \(process {server.pid}\) has ended") as raised:
            _kill_while_watched(server, lambda error: said.append(str(error)))

    assert said == [str(raised.value)]
    assert f"Its log, {server.log}, ends with:" in said[0]
    assert isinstance(raised.value.__context__, KeyboardInterrupt)
    assert _is_up(home) == (False, False)
    assert ended_server() is None  # what runs afterwards fails for reasons of its own


def test_a_home_that_is_a_file_is_named_with_the_cure(home: Path) -> None:
    home.write_text("")
    with (
        pytest.raises(LocalServicesError, match=rf"{home}, cannot be used: .*set ENGARDE_HOME to another one"),
        running(home),
    ):
        pass
