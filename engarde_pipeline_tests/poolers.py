"""A real pooler before a test's Postgres."""

import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.settings import API_ROLE
from engarde_pipeline_tests.servers import installed_program


@contextmanager
def pgbouncer(database_url: str, mode: str, size: int = 4, settings: str = "") -> Iterator[str]:
    """Run pgbouncer in `mode` before the server of `database_url`; yield the address through it."""
    program, url = installed_program("pgbouncer"), make_url(database_url)
    sockets = url.query["host"]
    assert isinstance(sockets, str)
    with socket.socket() as bound, TemporaryDirectory(prefix="pgbouncer-") as directory:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        bound.close()
        home = Path(directory)
        home.chmod(0o755)
        (home / "users").write_text(f'"{url.username}" ""\n"{API_ROLE}" ""\n')
        (home / "ini").write_text(
            f"[databases]\n* = host={sockets}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {home}/users\npool_mode = {mode}\ndefault_pool_size = {size}\n{settings}\n"
        )
        # It refuses to run as root, and Postgres' sockets are its owner's.
        owner = pwd.getpwuid(Path(sockets).stat().st_uid)
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        process = subprocess.Popen(  # type: ignore[call-overload]
            [program, "-q", str(home / "ini")],
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **(user if os.geteuid() == 0 else {}),
        )
        try:
            _wait_for(port, process)
            through = url.set(host="127.0.0.1", port=port).difference_update_query(["host"])
            yield through.render_as_string(hide_password=False)
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "pgbouncer does not start"
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("pgbouncer does not listen")
