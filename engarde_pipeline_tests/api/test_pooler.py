"""The API through pgbouncer in session mode, with either of its logins."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from dagster import DagsterInstance
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from engarde_pipeline.settings import API_ROLE, ApiSettings
from engarde_pipeline_tests.api.service import SECRET, api_database_url, serving
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)
PROGRAM = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@pytest.fixture
def pooler(shop: Shop) -> Iterator[str]:
    """The address of a pooler before the test's database."""
    if PROGRAM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("pgbouncer is not installed")
        pytest.skip("pgbouncer is not installed")
    url = make_url(shop.world.database_url)
    where = Path(tempfile.mkdtemp(prefix="pooler-"))
    where.chmod(0o755)  # it does not run as root
    for folder in Path(str(url.query["host"])).parents:
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)  # the way to Postgres' socket
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    users = where / "users"
    users.write_text(f'"{url.username}" ""\n"{API_ROLE}" ""\n')
    (where / "ini").write_text(
        f"[databases]\n* = host={url.query['host']} port={url.port or 5432}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = session\n"
    )
    is_root = os.geteuid() == 0
    user = Path(str(url.query["host"])).owner() if is_root else pwd.getpwuid(os.geteuid()).pw_name
    process = subprocess.Popen(
        [PROGRAM, "-q", where / "ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **({"user": user, "extra_groups": []} if is_root else {}),  # type: ignore[call-overload]
    )
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield url.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(where)


@pytest.mark.parametrize("has_own_login", [True, False])
def test_through_a_pooler_the_api_answers_one_tenants_own(
    shop: Shop, instance: DagsterInstance, pooler: str, has_own_login: bool
) -> None:
    shop.load(DAY)
    shop.world.sync(DAY)
    api_database_url(shop.world.database_url)  # lets the role log in
    own = make_url(pooler).set(username=API_ROLE).render_as_string(hide_password=False)
    behind = ApiSettings(
        database_url=SecretStr(pooler),
        api_database_url=SecretStr(own) if has_own_login else None,
        jwt_secret_key=SecretStr(SECRET),
    )
    other = shop.world.tenant("Other")

    with serving(behind, instance) as service:
        for tenant, groups in ((shop.tenant, 1), (other, 0)):
            answer = service.get("/metrics", tenant, start_date=str(DAY), end_date=str(DAY))
            assert (answer.status_code, len(answer.json()["metrics"])) == (200, groups)
