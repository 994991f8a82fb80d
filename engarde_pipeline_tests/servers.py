"""The real servers the tests run on: embedded PostgreSQL 18, an installed older one, the BigQuery emulator."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from engarde_pipeline.local import bigquery, postgres

EMBEDDED = "postgres-18"

_INSTALLED_VERSION = os.environ.get("ENGARDE_TEST_POSTGRES", "15")
"""The major version of the installed server: 15, 16 or 17."""

INSTALLED = f"postgres-{_INSTALLED_VERSION}"

_DEBIAN_BINARIES = Path(f"/usr/lib/postgresql/{_INSTALLED_VERSION}/bin")


def skip_without(program: str, problem: str = "is not installed") -> NoReturn:
    """Skip the test, since a program is not installed; in CI, where each of them must be, fail it."""
    reason = f"{program} {problem}; as root on Debian, `make test` installs it"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)  # outside CI: a machine may have neither apt nor root


def installed_program(name: str) -> Path:
    """Return the path of an installed program, such as pgbouncer, or skip the test without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    return Path(found) if found else skip_without(name)


def installed_postgres() -> Path:
    """Return the directory with the installed server's binaries, or skip the test without them."""
    if not (_DEBIAN_BINARIES / "initdb").exists():
        skip_without(f"PostgreSQL {_INSTALLED_VERSION}")
    return _DEBIAN_BINARIES


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """Run the embedded Postgres; yield the address of its database."""
    try:
        yield postgres.start(home)
    finally:
        postgres.stop(home)


@contextmanager
def installed_server(directory: Path, options: str = "") -> Iterator[str]:
    """Run the installed Postgres on a unix socket in `directory`; yield the address of its database.

    `options` are more of the server's own.
    """
    binaries = installed_postgres()
    data = directory / "data"
    data.mkdir(parents=True)
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # Postgres refuses to run as root
        shutil.chown(data, "postgres")
        for parent in data.parents:
            parent.chmod(parent.stat().st_mode | 0o001)
        as_user = {"user": pwd.getpwnam("postgres").pw_uid, "group": pwd.getpwnam("postgres").pw_gid}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", data, *arguments],
            check=True,
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **as_user,  # type: ignore[call-overload]
        )

    run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
    run("pg_ctl", "start", "-w", "-l", str(data / "log"), "-o", f"-h '' -k {data} {options}")
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        run("pg_ctl", "stop", "-m", "immediate")


@contextmanager
def emulator(home: Path) -> Iterator[bigquery.Emulator]:
    """Run the BigQuery emulator."""
    running = bigquery.start(home)
    try:
        yield running
    finally:
        bigquery.stop(running.pid)
