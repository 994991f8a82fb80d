"""The files of DAGSTER_HOME: the variables that they refer to, and the code servers of workspace.yaml."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engarde_pipeline.cli.dagster_files import INSTANCE, WORKSPACE
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import ServiceSettings, require

_CHECK_SECONDS = 5


class WorkspaceUnusable(EngardeError):
    """workspace.yaml is missing or names no code server."""


class CodeServerUnreachable(EngardeError):
    """The code server does not respond, or does not serve yet."""


@dataclass(frozen=True)
class CodeServer:
    """A code server of workspace.yaml."""

    location: str
    host: str
    port: int


def workspace_file() -> Path:
    """Return the path of workspace.yaml in DAGSTER_HOME."""
    return Path(os.environ["DAGSTER_HOME"]) / WORKSPACE


def require_service(settings: type[ServiceSettings], *, with_workspace: bool) -> None:
    """Check that a process has its variables, including those that its files refer to as `env: NAME`.

    Raises:
        InvalidSettings: variables are missing or malformed; the message names all of them.
        WorkspaceUnusable: the process needs a workspace.yaml, and there is none.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or os.devnull)
    instance, workspace = _read(home / INSTANCE), _read(home / WORKSPACE)
    if with_workspace:
        referred = [*_variables(instance), *_variables(workspace)]
    else:
        # Only the daemon starts runs, and the UI cancels them.
        referred = [*_variables(_without(instance, "run_launcher"))]
    require(settings, referred)
    if with_workspace and not workspace_file().is_file():
        raise WorkspaceUnusable(f"{workspace_file()} does not exist. Run: engarde init")


def code_servers() -> list[CodeServer]:
    """Return the code servers of workspace.yaml.

    Raises:
        WorkspaceUnusable: there is none.
    """
    content = _read(workspace_file())
    entries = content.get("load_from") if isinstance(content, dict) else None
    servers = [entry["grpc_server"] for entry in entries or [] if "grpc_server" in entry]
    if not servers:
        raise WorkspaceUnusable(
            f"{workspace_file()} names no grpc_server. `engarde init` writes one; `engarde dev` needs none."
        )
    return [
        CodeServer(
            location=str(server.get("location_name", "")),
            host=str(_value(server.get("host", "localhost"))),
            port=int(str(_value(server["port"]))),
        )
        for server in servers
    ]


def check_code_server(server: CodeServer) -> str:
    """Check the health of a code server by the gRPC health checking protocol, as `dagster api grpc-health-check`.

    Raises:
        CodeServerUnreachable: it does not serve.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    address = f"{server.host}:{server.port}"
    try:
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            response = health.Check(health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=_CHECK_SECONDS)
    except grpc.RpcError as error:
        raise CodeServerUnreachable(
            f"The code server at {address} does not respond ({error.code().name}). Check"
            " ENGARDE_CODE_SERVER_HOST and ENGARDE_CODE_SERVER_PORT, and that `engarde code-server` is running"
            " there."
        ) from None
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        raise CodeServerUnreachable(f"The code server at {address} does not serve yet.")
    return f"the code server at {address} responds"


def _read(file: Path) -> object:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(file.read_text())
    except OSError:
        return None
    except yaml.YAMLError as error:
        raise WorkspaceUnusable(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None


def _variables(content: object) -> Iterator[str]:
    """Yield the names of the environment variables that a file of Dagster's refers to."""
    if isinstance(content, dict):
        if set(content) == {"env"}:
            yield str(content["env"])
        else:
            for value in content.values():
                yield from _variables(value)
    elif isinstance(content, list):
        for value in content:
            yield from _variables(value)


def _without(content: object, key: str) -> object:
    return {name: value for name, value in content.items() if name != key} if isinstance(content, dict) else None


def _value(value: object) -> object:
    return os.environ[str(value["env"])] if isinstance(value, dict) else value
