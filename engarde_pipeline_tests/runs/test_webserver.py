"""Runs that Dagster's webserver does not submit: each fault is named with its cure."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from engarde_pipeline.runs import webserver
from engarde_pipeline.runs.run_config import RunSpec
from engarde_pipeline.runs.webserver import RunNotSubmitted, Webserver

RUN = RunSpec("slice_sync", {"ops": {}}, {"engarde/tenant": "t"})


class _Answers(BaseHTTPRequestHandler):
    """Answers each request with the next of `bodies`: text as it is, anything else as GraphQL data."""

    bodies: ClassVar[list[Any]] = []
    paths: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.paths.append(self.path)
        body = self.bodies.pop(0)
        if body is None:
            threading.Event().wait(3)
            return
        text = body if isinstance(body, str) else json.dumps({"data": body})
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Answers.bodies, _Answers.paths = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def _located(*jobs: str) -> dict[str, Any]:
    pipelines = [{"name": job} for job in jobs]
    nodes = [{"name": "__repository__", "location": {"name": "anything"}, "pipelines": pipelines}]
    return {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": nodes}}


def _launched(typename: str, **values: object) -> dict[str, Any]:
    return {"launchPipelineExecution": {"__typename": typename, **values}}


def test_a_run_is_submitted_to_the_location_that_has_the_job_behind_any_path(server: str) -> None:
    _Answers.bodies = [_located("slice_sync"), _launched("LaunchRunSuccess", run={"runId": "r1"})]

    assert Webserver(f"{server}/dagster").submit(RUN, {"a": "b"}) == "r1"
    assert _Answers.paths == ["/dagster/graphql"] * 2


@pytest.mark.parametrize(
    ("bodies", "says"),
    [
        ([_located("another")], "has no code location with the job slice_sync"),
        (["<html>Sign in</html>"], "a proxy with a login"),
        (
            [_located("slice_sync"), _launched("UnauthorizedError", message="No permission to launch runs.")],
            "did not submit the run: UnauthorizedError No permission",
        ),
        ([_located("slice_sync"), _launched("PythonError", message="database is locked")], "database is locked"),
    ],
)
def test_a_run_that_was_not_submitted_says_why(server: str, bodies: list[Any], says: str) -> None:
    _Answers.bodies = bodies

    with pytest.raises(RunNotSubmitted, match=says) as raised:
        Webserver(server).submit(RUN, {})
    assert server in str(raised.value)


def test_a_webserver_that_does_not_run_is_named(server: str) -> None:
    with pytest.raises(RunNotSubmitted, match=r"cannot be reached.*ENGARDE_WEBSERVER_URL"):
        Webserver("http://127.0.0.1:9").submit(RUN, {})


def test_a_webserver_that_hangs_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver, "_TIMEOUT", 1)
    _Answers.bodies = [None]

    with pytest.raises(RunNotSubmitted, match="did not respond within 1 seconds"):
        Webserver(server).submit(RUN, {})
