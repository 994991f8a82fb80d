"""The platform as processes that can be killed: both Postgres servers, BigQuery, daemon, code server, runs."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

import engarde_pipeline
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.local import bigquery, postgres, processes
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests.bigquery.faulty import Proxy, rest_proxy
from engarde_pipeline_tests.defs.bigquery_times import Times
from engarde_pipeline_tests.world import World

_PROJECT = Path(engarde_pipeline.__file__).parents[1]


@dataclass
class Platform:
    """A running platform; the addresses in its environment outlive what is killed."""

    home: Path
    proxy: Proxy
    world: World
    times: Times
    environment: dict[str, str]
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def kills(self) -> dict[str, Callable[[DagsterInstance], bool]]:
        """What can be killed, and how; False where there is nothing to kill at the moment."""
        return {
            "a run": self._kill_a_run,
            "the daemon": self._kill_the_daemon,
            "the code server": self._kill_the_code_server,
            "BigQuery": self._kill_bigquery,
            "Postgres": lambda _: _kill_postgres(self.home),
        }

    def kill_the_history(self) -> None:
        """Kill the Postgres with Dagster's history."""
        assert _kill_postgres(_history(self.home))

    def mend(self) -> None:
        """Start again whatever is not running, and connect the world to it."""
        postgres.start(self.home)
        postgres.start(_history(self.home))
        try:
            self.world.connection.execute("SELECT 1")
        except psycopg.OperationalError:
            self.world.connection = connect(self.world.database_url)
        emulator = bigquery.start(self.home)
        if self.proxy.upstream != emulator.rest_url:
            self.proxy.upstream = emulator.rest_url
            settings = self.world.settings.model_copy(update={"bigquery_emulator_host": emulator.rest_url})
            self.world.source = Source(settings)
        if self.daemon is None or self.daemon.poll() is not None:
            command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "engarde_pipeline.definitions"]
            with (self.home / "daemon.log").open("ab") as log:
                self.daemon = subprocess.Popen(
                    command, cwd=_PROJECT, stdout=log, stderr=log, env={**os.environ, **self.environment}
                )

    def stop(self) -> None:
        """End everything, runs included."""
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(timeout=60)
        for pid in processes.find("engarde_pipeline.definitions"):
            if str(self.home) in _environment_of(pid):
                _kill(pid)
        if emulator := bigquery.find(self.home):
            bigquery.stop(emulator.pid)
        postgres.stop(self.home)
        postgres.stop(_history(self.home))

    def _kill_a_run(self, instance: DagsterInstance) -> bool:
        started = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
        killed = [
            _kill(pid)
            for run in instance.get_runs(started)
            for pid in _processes_of(instance, run.run_id)
            # One of the command line has no code server to notice its end: a wait of ten minutes.
            if "engarde_pipeline.cli" not in processes.arguments_of(pid)
        ]
        return any(killed)

    def _kill_the_daemon(self, _instance: DagsterInstance) -> bool:
        assert self.daemon
        self.daemon.kill()
        self.daemon.wait()
        return True

    def _kill_the_code_server(self, _instance: DagsterInstance) -> bool:
        killed = [_kill(pid) for pid in processes.find("grpc") if str(self.home) in _environment_of(pid)]
        return any(killed)

    def _kill_bigquery(self, _instance: DagsterInstance) -> bool:
        emulator = bigquery.find(self.home)
        return emulator is not None and _kill(emulator.pid)


@contextmanager
def running_platform(home: Path) -> Iterator[Platform]:
    """Run a platform with an empty, migrated database until the block ends.

    BigQuery is read through a proxy, whose address outlives the emulator's.
    """
    database_url = postgres.start(home)
    postgres.start(_history(home))
    migrate.upgrade(database_url)
    emulator = bigquery.start(home)
    with rest_proxy(emulator.rest_url) as proxy:
        world = World(database_url, emulator, with_storage_api=False)
        homes = {
            "ENGARDE_HOME": str(home),
            "DAGSTER_HOME": str(home / "dagster"),
            "DAGSTER_DATABASE_URL": postgres.dagster_database_url(_history(home)),
        }
        environment = {**world.environment, **homes, "BIGQUERY_EMULATOR_HOST": proxy.url}
        environment.pop("BIGQUERY_STORAGE_EMULATOR_HOST")
        (home / "dagster").mkdir()
        shutil.copy(_PROJECT / "dagster.yaml", home / "dagster")
        platform = Platform(home, proxy, world, Times(proxy, world.dataset), environment)
        try:
            platform.mend()
            yield platform
        finally:
            platform.stop()


def _processes_of(instance: DagsterInstance, run_id: str) -> list[int]:
    return [
        int(str(event.engine_event_data.metadata["pid"].value))
        for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)
        if (event := entry.dagster_event) and "pid" in event.engine_event_data.metadata
    ]


def _history(home: Path) -> Path:
    """The home of the server with Dagster's history."""
    return home / "history"


def _kill_postgres(home: Path) -> bool:
    pid = int((home / "postgres" / "postmaster.pid").read_text().partition("\n")[0])
    return _kill(pid)


def _environment_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
