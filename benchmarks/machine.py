"""What the figures were measured on; never where, so that the report can be published."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("dagster", "psycopg", "pyarrow", "sqlalchemy", "bqemulator")


def machine(postgres_version: str) -> dict[str, str]:
    """Return the machine and the versions, by label."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {memory:.0f} GB memory, {platform.system()}",
        "PostgreSQL": f"{postgres_version}, embedded, its settings as they come but for min_wal_size",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
