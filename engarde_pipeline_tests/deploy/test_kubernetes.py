"""deploy/kubernetes and deploy/helm, checked with the schemas of Kubernetes and by Dagster's run launcher."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance, DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient  # type: ignore[import-untyped]

from engarde_pipeline_tests.deploy.compose import DEPLOY, services

MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "helm" / "dagster-values.yaml").read_text())
LOCKED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in MANIFESTS:
        for resource in yaml.safe_load_all(file.read_text()):
            yield f"{file.name}:{resource['kind']}", resource


RESOURCES = dict(_resources())
PODS = {
    name: resource["spec"]["template"]["spec"]
    for name, resource in RESOURCES.items()
    if "template" in resource.get("spec", {})
}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.mark.parametrize("name", [name for name in RESOURCES if not name.endswith(":Kustomization")])
def test_a_manifest_is_valid(name: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], "1.33", strict=True)


def test_kustomization_has_every_manifest() -> None:
    (kustomization,) = (resource for name, resource in RESOURCES.items() if name.endswith(":Kustomization"))
    files = {file.name for file in MANIFESTS} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    ours = {container["image"] for pod in PODS.values() for container in _containers(pod)}
    assert {image["name"] for image in kustomization["images"]} == {image for image in ours if "/" not in image}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_locked_down(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in _containers(pod):
        assert container["securityContext"] == LOCKED
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_commands_and_variables_are_those_of_compose() -> None:
    """The processes are tested with what compose.yaml gives them (test_processes.py)."""
    pods = {container["name"]: container for pod in PODS.values() for container in _containers(pod)}
    compose = services()
    for name in ("migrate", "grants", "grants-api", "grants-exporter", "migrate-dagster", "exporter"):
        assert pods[name]["args"] == compose[name]["command"]
    assert pods["api"]["args"] == [*compose["api"]["command"], "--port", "8000"]
    for name in ("api", "exporter"):
        given = {variable["name"] for variable in pods[name]["env"]}
        # Runs are Kubernetes jobs, so there is no broker.
        optional = {"API_CORS_ORIGINS", "API_RATE_LIMIT", "ENGARDE_BROKER_URL"}
        assert given == set(compose[name]["environment"]) - optional


def test_the_docs_name_every_secret_and_its_keys() -> None:
    text = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    manifests = "".join(file.read_text() for file in MANIFESTS)
    used = set(re.findall(r"secret(?:Key)?Ref: \{name: ([\w-]+)", manifests))
    used |= {secret["name"] for secret in _code_server()["envSecrets"]} | {
        VALUES["global"]["postgresqlSecretName"]
    }
    assert used == set(re.findall(r"create secret generic ([\w-]+)", text))


def _code_server() -> dict[str, Any]:
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert isinstance(deployment, dict)
    return deployment


def test_the_pods_of_the_chart_are_valid_and_locked_down() -> None:
    for part in (_code_server(), VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        container = {
            "name": "dagster",
            "image": f"{part['image']['repository']}:{part['image']['tag']}",
            "securityContext": part["securityContext"],
            "resources": part["resources"],
            "volumeMounts": part["volumeMounts"],
        }
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in part:
                container[probe] = {name: value for name, value in part[probe].items() if name != "enabled"}
        spec = {
            "containers": [container],
            "volumes": part["volumes"],
            "securityContext": part["podSecurityContext"],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dagster"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.33", strict=True)
        assert part["securityContext"] == LOCKED
        assert part["podSecurityContext"]["runAsNonRoot"]


def test_the_charts_instance_is_the_pipelines_except_for_the_storage() -> None:
    own: dict[str, Any] = yaml.safe_load((DEPLOY.parent / "dagster.yaml").read_text())
    daemon, additional = VALUES["dagsterDaemon"], VALUES["additionalInstanceConfig"]
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"] == own["run_coordinator"]
    retries = {"enabled": daemon["runRetries"]["enabled"], "max_retries": daemon["runRetries"]["maxRetries"]}
    assert retries == own["run_retries"]
    # The chart writes only some of its settings.
    assert not daemon["runMonitoring"]["enabled"]
    assert additional == {name: own[name] for name in ("nux", "run_monitoring")}
    logs = VALUES["pythonLogs"]
    assert logs["managedPythonLoggers"] == own["python_logs"]["managed_python_loggers"]
    assert logs["pythonLogLevel"] == own["python_logs"]["python_log_level"]
    for kind, days in own["retention"].items():
        assert VALUES["retention"][kind]["purgeAfterDays"] == days["purge_after_days"]
    assert VALUES["telemetry"] == own["telemetry"]
    scheduler = VALUES["scheduler"]
    assert scheduler["type"] == own["scheduler"]["class"]
    assert scheduler["config"]["daemonScheduler"] == {
        "maxTickRetries": own["scheduler"]["config"]["max_tick_retries"]
    }


_IN_DAGSTER_YAML = {
    "imagePullPolicy": "image_pull_policy",
    "failPodOnRunFailure": "fail_pod_on_run_failure",
    "securityContext": "security_context",
    "runK8sConfig": "run_k8s_config",
    "podSpecConfig": "pod_spec_config",
    "jobSpecConfig": "job_spec_config",
}
"""The names that the chart gives to the values of the run launcher."""


def test_dagsters_run_launcher_accepts_its_values_and_makes_a_valid_job(tmp_path: Path) -> None:
    values = dict(VALUES["runLauncher"]["config"]["k8sRunLauncher"])
    values["runK8sConfig"] = {_IN_DAGSTER_YAML[name]: value for name, value in values["runK8sConfig"].items()}
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "test", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    user = {"name": "test", "user": {"token": "nothing"}}
    contexts = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "test"}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **contexts}))
    configuration = {
        **{_IN_DAGSTER_YAML[name]: value for name, value in values.items()},
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "dagster_home": VALUES["global"]["dagsterHome"],
        "job_image": "engarde-pipeline:test",
    }
    launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": configuration}
    (tmp_path / "dagster.yaml").write_text(
        yaml.safe_dump({"run_launcher": launcher, "telemetry": {"enabled": False}})
    )
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        made = instance.run_launcher
        assert isinstance(made, K8sRunLauncher)
        context_of_run = made.get_container_context_for_run(DagsterRun(job_name="sync", run_id="0" * 32))
    job = construct_dagster_k8s_job(
        context_of_run.get_k8s_job_config("engarde-pipeline:test", made),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-test",
        user_defined_k8s_config=context_of_run.run_k8s_config,
    )
    manifest = ApiClient().sanitize_for_serialization(job)
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"] == LOCKED
    assert pod["securityContext"]["runAsNonRoot"]
    # The arguments are the command: the image must have no entry point.
    assert "command" not in pod["containers"][0]


def test_the_versions_are_those_of_the_package() -> None:
    lock = (DEPLOY / "requirements-distributed.txt").read_text()
    (dagster,) = re.findall(r"^dagster==([\d.]+)", lock, re.MULTILINE)
    for file in (DEPLOY / "helm" / "dagster-values.yaml", DEPLOY.parent / "docs" / "deploy.md"):
        assert set(re.findall(r"--version ([\d.]+)", file.read_text())) == {dagster}
