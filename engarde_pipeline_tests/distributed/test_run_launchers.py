"""The run launchers of deploy/, which `engarde init --launcher` adds to dagster.yaml."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance

from engarde_pipeline.celery_launcher import CeleryRunLauncher
from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.distributed.cluster import ROOT
from engarde_pipeline_tests.distributed.launched import launch
from engarde_pipeline_tests.world import World

IMAGE = "registry.example.com/engarde-pipeline:1"


@pytest.fixture
def created_jobs(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """The jobs that are created at a Kubernetes API, to which $KUBECONFIG points."""
    jobs: list[dict[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            jobs.append({"path": self.path, **json.loads(body)})
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = {"cluster": "here", "user": "nobody"}
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "here", "context": here}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(configuration))
        yield jobs
        server.shutdown()


def _add(file: str, **config: object) -> None:
    block = yaml.safe_load((ROOT / "deploy" / file).read_text())
    block["run_launcher"]["config"].update(config)
    with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as instance:
        instance.write("\n" + yaml.safe_dump(block))


def test_an_instance_with_the_celery_launcher_keeps_the_address_of_redis_out_of_its_tasks(
    configured: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_BROKER_URL", "redis://:hunter2@127.0.0.1:9/0")
    _add("run-launcher-celery.yaml")
    with DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, CeleryRunLauncher)
        assert launcher.broker == "redis://:hunter2@127.0.0.1:9/0"
        assert launcher.celery.conf.task_default_queue == "engarde"
        # A task carries this.
        assert "hunter2" not in repr(instance.get_ref())


def test_the_kubernetes_launcher_creates_a_job_that_kubernetes_accepts(
    configured: World, created_jobs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_NAMESPACE", "marketing")
    monkeypatch.setenv("ENGARDE_RUN_IMAGE", IMAGE)
    # Outside a cluster; everything else as it is.
    _add(
        "run-launcher-kubernetes.yaml",
        load_incluster_config=False,
        kubeconfig_file=str(tmp_path / "kubeconfig"),
    )
    with DagsterInstance.get() as instance:
        run_id = launch(instance, today(), today())

    (job,) = created_jobs
    assert job.pop("path") == "/apis/batch/v1/namespaces/marketing/jobs"
    kubernetes_validate.validate(job, "1.31", strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["name"] == f"dagster-run-{run_id}"
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    assert (container["image"], pod["serviceAccountName"]) == (IMAGE, "engarde-runs")
    assert [*container["envFrom"]] == [
        {"configMapRef": {"name": "engarde-settings"}},
        {"secretRef": {"name": "engarde-pipeline"}},
        {"secretRef": {"name": "engarde-dagster"}},
    ]
    assert configured.database_url not in json.dumps(job)
