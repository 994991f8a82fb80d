"""The checks of `engarde doctor --for ...`: those that concern one process, with only its variables."""

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from engarde_pipeline.cli.dagster_files import CODE_LOCATION, missing_features
from engarde_pipeline.cli.dagster_home import open_instance
from engarde_pipeline.cli.servers import set_dagster_home
from engarde_pipeline.cli.worker import celery_launcher, slots_of
from engarde_pipeline.cli.workspace import check_code_server, code_servers, require_service
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.settings import (
    CodeServerSettings,
    DagsterSettings,
    ExporterServiceSettings,
    ServiceSettings,
    Settings,
    WorkerSettings,
    has_dagster_database,
    load_api_settings,
    load_dagster_settings,
    load_database_settings,
    load_exporter_settings,
    load_settings,
    require,
)

Check = tuple[str, Callable[[], str]]

_HEARTBEAT_SECONDS = 180
"""The daemon writes a heartbeat every 30 seconds."""

_WEBSERVER_SECONDS = 30

_LOCATIONS = """
{workspaceOrError {... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}}}
"""


class Process(StrEnum):
    """A process of a deployment."""

    CODE_SERVER = "code-server"
    WORKER = "worker"
    API = "api"
    DAEMON = "daemon"
    UI = "ui"
    EXPORTER = "exporter"
    MIGRATE = "migrate"


class SumsUnreadable(EngardeError):
    """The exporter's login to Postgres lacks a right, or the schema is not current."""


class DagsterNotReady(EngardeError):
    """Dagster's storage, daemon or webserver is not as a process needs it."""


def checks_of(process: Process) -> Iterator[list[Check]]:
    """Yield the checks of a process in groups; in a group, a check is run only if the previous ones passed.

    Raises:
        InvalidSettings: variables of the process are missing or malformed.
    """
    match process:
        case Process.CODE_SERVER | Process.WORKER:
            is_worker = process is Process.WORKER
            require_service(WorkerSettings if is_worker else CodeServerSettings, with_workspace=False)
            yield from server_checks(load_settings())
            yield [("Dagster storage", _check_storage), ("Dagster instance", _check_features)]
            if is_worker:
                yield [("redis", _check_broker)]
        case Process.DAEMON | Process.UI:
            require_service(ServiceSettings, with_workspace=True)
            yield _storage()
            yield [("code server", _check_code_servers)]
            if process is Process.DAEMON:
                yield [("daemon", _check_heartbeats)]
        case Process.API:
            yield from _api()
        case Process.EXPORTER:
            yield _exporter()
            yield _storage()
        case Process.MIGRATE:
            yield _migrations()


def server_checks(settings: Settings) -> Iterator[list[Check]]:
    """Yield the checks in groups; in a group, a check is run only if the previous ones passed."""
    from engarde_pipeline.bigquery import diagnosis as bigquery
    from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
    from engarde_pipeline.postgres.reads import diagnosis as postgres

    database_url = settings.database_url.get_secret_value()
    yield [
        ("BigQuery table campaign_metrics", lambda: bigquery.check_table(settings, CAMPAIGN_METRICS)),
        ("BigQuery reading", lambda: bigquery.check_reading(settings)),
        ("BigQuery queries", lambda: bigquery.check_queries(settings)),
    ]
    yield [("BigQuery table asset_metrics", lambda: bigquery.check_table(settings, ASSET_METRICS))]
    yield [
        ("Postgres connection", lambda: postgres.check_connection(database_url)),
        ("Postgres session", lambda: postgres.check_session(database_url)),
        ("Postgres schema", lambda: postgres.check_schema(database_url)),
        ("Postgres permissions", lambda: postgres.check_permissions(database_url)),
    ]
    if has_dagster_database():
        yield [_history()]


def _migrations() -> list[Check]:
    from engarde_pipeline.postgres.reads import diagnosis

    database_url = load_database_settings().database_url.get_secret_value()
    return [
        ("Postgres connection", lambda: diagnosis.check_connection(database_url)),
        ("Postgres migrations", lambda: diagnosis.check_migrations(database_url)),
    ]


def _exporter() -> list[Check]:
    require(ExporterServiceSettings)
    return [("Postgres sums", _check_sums)]


def _check_sums() -> str:
    import psycopg

    from engarde_pipeline.observability.parts import read_postgres
    from engarde_pipeline.postgres.faults import message_of

    try:
        read = list(read_postgres(load_exporter_settings()))
    except psycopg.Error as error:
        raise SumsUnreadable(
            f"The exporter's login cannot read what it needs. {message_of(error)} Run `engarde db upgrade`, then"
            " `engarde db grants --role ROLE --for exporter`."
        ) from None
    return f"the exporter's login reads {counted(len(read), 'metric')} from Postgres"


def _api() -> Iterator[list[Check]]:
    from engarde_pipeline.api.database import check_isolation

    settings = load_api_settings()
    require(DagsterSettings)

    def isolation() -> str:
        check_isolation(settings.api_login, settings.api_takes_role)
        return "the API's login sees one tenant at a time"

    yield [("Postgres isolation", isolation)]
    yield [_history(), ("Dagster storage", _check_storage)]
    yield [("Dagster webserver", lambda: _check_webserver(settings.webserver_url))]


def _storage() -> list[Check]:
    return [_history(), ("Dagster storage", _check_storage), ("Dagster instance", _check_features)]


def _history() -> Check:
    from engarde_pipeline.postgres.reads.diagnosis import check_history

    url = load_dagster_settings().dagster_database_url.get_secret_value()
    return "Dagster's database", lambda: check_history(url)


def _check_storage() -> str:
    set_dagster_home()
    with open_instance() as instance:
        for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
            found, newest = storage.alembic_version() or (None, None)  # type: ignore[union-attr]
            if found != newest:
                raise DagsterNotReady(
                    f"The tables of Dagster's history are at revision {found}, and this version of Dagster needs"
                    f" {newest}. Run: dagster instance migrate"
                )
        runs = instance.get_runs_count()
    return f"its history has {counted(runs, 'run')}; its tables are up to date"


def _check_features() -> str:
    if missing := missing_features():
        raise DagsterNotReady(missing)
    return "run retries, run monitoring, the run queue and tick retention are on; its history is in Postgres"


def _check_code_servers() -> str:
    servers = code_servers()
    if CODE_LOCATION not in {server.location for server in servers}:
        raise DagsterNotReady(
            f"workspace.yaml has no code server with location_name: {CODE_LOCATION}. Write it again by"
            " `engarde init`."
        )
    return "; ".join(check_code_server(server) for server in servers)


def _check_broker() -> str:
    with open_instance() as instance:
        slots = slots_of(celery_launcher(instance))
    workers = counted(len(slots), "worker")
    return f"it responds; {workers}, {counted(sum(slots.values()), 'run')} at a time"


def _check_heartbeats() -> str:
    with open_instance() as instance:
        beats = instance.get_daemon_heartbeats()
        required = instance.get_required_daemon_types()
    now = time.time()
    late = [name for name in required if name not in beats or now - beats[name].timestamp > _HEARTBEAT_SECONDS]
    if late:
        raise DagsterNotReady(
            f"There is no heartbeat of the last {_HEARTBEAT_SECONDS} seconds from: {', '.join(sorted(late))}."
            " Start `engarde daemon`; if it is running, its log says what stops it."
        )
    if failing := sorted(name for name in required if beats[name].errors):
        raise DagsterNotReady(f"These daemons report errors; see the log of the daemon: {', '.join(failing)}.")
    return "all daemons are alive"


def _check_webserver(url: str) -> str:
    import requests

    try:
        response = requests.post(f"{url}/graphql", json={"query": _LOCATIONS}, timeout=_WEBSERVER_SECONDS)
        entries = response.json()["data"]["workspaceOrError"]["locationEntries"]
    except requests.ConnectionError:
        raise DagsterNotReady(
            f"Dagster's webserver at {url} cannot be reached. Start `engarde ui`, or set ENGARDE_WEBSERVER_URL."
        ) from None
    except (requests.RequestException, KeyError, TypeError):
        raise DagsterNotReady(
            f"{url} does not respond like Dagster's webserver. If a proxy with a login is in front of it, set"
            " ENGARDE_WEBSERVER_URL to an address behind the proxy."
        ) from None
    locations = {entry["name"]: (entry["locationOrLoadError"] or {}).get("__typename") for entry in entries}
    if locations.get(CODE_LOCATION) != "RepositoryLocation":
        raise DagsterNotReady(
            f"Dagster's webserver at {url} has not loaded the code location {CODE_LOCATION}. Its page Deployment"
            f" shows why. Its code locations: {', '.join(locations) or 'none'}."
        )
    return f"the webserver at {url} has loaded the code location {CODE_LOCATION}"
