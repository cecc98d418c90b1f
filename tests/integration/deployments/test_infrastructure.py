"""Compose file, manifests and workflows: what can be said of them without the machines they are for."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import yaml

from kvsync.ci.project.choice import Occasion, choose
from kvsync.ci.project.reading import read_project
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.testing.processes.tools import ON_PATH

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Document = dict[str, object]

INFRA = REPOSITORY / "infra"
MANIFESTS = sorted((INFRA / "manifests/prefect").glob("[!k]*.yaml"))
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
SECRET_NAMES = re.compile(r"PASSWORD|SECRET|AUTH_STRING|TOKEN|CONNECTION_URL")
NO_SECRETS = {
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME",
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY",
}
"""They name a secret, or take it from another variable."""

compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
services: dict[str, Document] = compose["services"]


def documents(paths: list[Path]) -> list[Document]:
    """Every document of these files."""
    return [each for path in paths for each in yaml.safe_load_all(path.read_text())]


def at(value: object, *path: str | int) -> object:
    """Follow keys and numbers into a document."""
    for step in path:
        value = cast("dict[str | int, object]", value)[step]
    return value


@pytest.mark.parametrize("service", [each for each in services if each != "database"])
def test_a_service_of_ours_is_confined(service: str) -> None:
    """Each is of the one image, cannot write to it, has no capability and gains none."""
    found = services[service]

    assert found["image"] == "${KVSYNC_PIPELINE_IMAGE:-kvsync-pipeline:dev}"
    assert (found["read_only"], found["cap_drop"]) == (True, ["ALL"])
    assert found["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", services)
def test_a_secret_of_a_service_comes_from_the_environment(service: str) -> None:
    """Its value is never written in the file; compose refuses to start without those that it must have."""
    environment = cast("dict[str, str | None]", services[service].get("environment", {}))
    secrets = {name: text for name, text in environment.items() if text and SECRET_NAMES.search(name)}

    assert [name for name, text in secrets.items() if not re.search(r"\$\{\w+:\?", text)] == []


def test_services_wait_for_what_they_need_and_keep_what_they_write() -> None:
    """One that others wait for says when it is healthy; every named volume is declared, and is used once."""
    waited_for = {name for each in services.values() for name in cast("Document", each.get("depends_on", {}))}
    volumes = [
        volume.partition(":")[0]
        for each in services.values()
        for volume in cast("list[str]", each["volumes"])
    ]

    assert waited_for == {"database", "server"}
    assert all("healthcheck" in services[name] for name in waited_for)
    assert sorted(volumes) == sorted(compose["volumes"])


def test_a_new_container_of_the_worker_knows_the_runs_of_the_old_one() -> None:
    """Its name, of which that of Prefect's worker is made, does not change with the container or pod."""
    assert services["worker"]["hostname"] == pods["worker"]["hostname"] == "worker"


def test_containers_of_runs_are_as_confined_as_services() -> None:
    """What the pool says of them is what the compose file says of its services."""
    pool = json.loads((INFRA / "docker/pool.json").read_text())["job_configuration"]

    assert pool["container_create_kwargs"] == {
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108  # of a container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def test_services_are_published_on_loopback_only() -> None:
    """A proxy with TLS stands in front of them."""
    ports = [port for each in services.values() for port in cast("list[str]", each.get("ports", []))]

    assert ports == ["127.0.0.1:4200:4200", "127.0.0.1:4281:4281", "127.0.0.1:4280:4280"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    """An ignored folder would be missing only when the image is built."""
    dockerfile = (INFRA / "docker/pipeline.Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.M) for name in line.split()}
    kept = (INFRA / "docker/pipeline.Dockerfile.dockerignore").read_text().splitlines()

    assert copied == {line.removeprefix("!") for line in kept if line.startswith("!")}
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []


pool = json.loads(
    next(str(at(each, "data", "pool.json")) for each in documents(MANIFESTS) if each["kind"] == "ConfigMap")
)
job = at(pool, "job_configuration", "job_manifest")
pods = {
    str(at(each, "metadata", "name")): cast("Document", at(each, "spec", "template", "spec"))
    for each in documents(MANIFESTS)
    if each["kind"] == "Deployment"
} | {"run": cast("Document", at(job, "spec", "template", "spec"))}


@pytest.mark.parametrize("pod", pods.values(), ids=pods)
def test_a_pod_is_confined(pod: Document) -> None:
    """No root, no way to become it, a root file system that is read-only, a limit, secrets by reference."""
    container = cast("Document", at(pod, "containers", 0))
    environment = container["env"] if isinstance(container["env"], list) else []
    written = [
        each["name"] for each in environment if SECRET_NAMES.search(str(each["name"])) and "value" in each
    ]

    assert at(pod, "securityContext", "runAsNonRoot") is True
    assert at(pod, "securityContext", "seccompProfile", "type") == "RuntimeDefault"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in cast("Document", at(container, "resources", "limits"))
    assert [each for each in written if each not in NO_SECRETS] == []
    mounted = {str(each["name"]) for each in cast("list[Document]", container["volumeMounts"])}
    assert mounted == {str(each["name"]) for each in cast("list[Document]", pod["volumes"])}


def test_the_run_of_an_evicted_pod_is_started_again_once() -> None:
    """By Kubernetes; where that makes no second attempt, Prefect makes one, and both were seen to run."""
    assert at(job, "spec", "backoffLimit") == 1


def test_only_the_worker_of_jobs_may_ask_kubernetes() -> None:
    """Others have no token; its role is of its namespace, and names no secrets."""
    holders = {name for name, pod in pods.items() if pod.get("automountServiceAccountToken", True)}
    rules = [
        rule
        for each in documents(MANIFESTS)
        if each["kind"] in {"Role", "ClusterRole"}
        for rule in cast("list[dict[str, list[str]]]", each["rules"])
    ]

    assert holders == {"jobs"}
    assert {name for rule in rules for name in rule["resources"]} == {"jobs", "pods", "pods/log", "events"}
    assert {verb for rule in rules for verb in rule["verbs"]} <= {
        "get",
        "list",
        "watch",
        "create",
        "patch",
        "delete",
    }
    assert not [each for each in documents(MANIFESTS) if str(each["kind"]).startswith("Cluster")]


def test_kustomize_takes_the_manifests() -> None:
    """All that it lists is there, and everything gets the namespace."""
    if not ON_PATH.find("kubectl"):
        pytest.skip("needs kubectl")
    answer = ON_PATH.ask("kubectl", "kustomize", str(INFRA / "manifests/prefect"), timeout_s=20)

    assert answer.ok, answer.reason
    made = list(yaml.safe_load_all(answer.output))
    assert {at(each, "metadata", "namespace") for each in made} == {"kvsync-pipeline"}


@pytest.mark.kubernetes
def test_an_api_server_takes_the_manifests(kubernetes_client: "ApiClient", kubernetes_namespace: str) -> None:
    """Each passes the server's own validation and admission, without being kept."""
    from kubernetes.dynamic import DynamicClient

    client = DynamicClient(kubernetes_client)  # type: ignore[no-untyped-call]  # has no types
    for each in documents(MANIFESTS):
        kind = client.resources.get(api_version=each["apiVersion"], kind=each["kind"])
        body = {"body": each, "namespace": kubernetes_namespace, "query_params": [("dryRun", "All")]}
        made = client.create(kind, **body)  # type: ignore[no-untyped-call]  # has no types
        assert made.metadata.name == at(each, "metadata", "name")


def steps(path: Path) -> list[Document]:
    """Every step of every job of a workflow."""
    jobs = cast("dict[str, Document]", yaml.safe_load(path.read_text())["jobs"])
    return [step for job in jobs.values() for step in cast("list[Document]", job["steps"])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_is_pasted_into_a_shell(path: Path) -> None:
    """What an event or a person says reaches commands as a variable."""
    assert [step["run"] for step in steps(path) if "${{" in str(step.get("run", ""))] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends(path: Path) -> None:
    """It reads the repository, leaves no credential there, and every job has a time limit."""
    workflow = yaml.safe_load(path.read_text())
    checkouts = [step for step in steps(path) if str(step.get("uses", "")).startswith("actions/checkout@")]

    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    assert all(at(step, "with", "persist-credentials") is False for step in checkouts)
    assert not [step["uses"] for step in steps(path) if "uses" in step and "@v" not in str(step["uses"])]


def test_the_report_is_kept_whatever_happened() -> None:
    """Nightly stages are the catalogue's, and the report of a failed run is what one wants to see."""
    path = REPOSITORY / ".github/workflows/pipeline.yml"
    uploads = [
        step for step in steps(path) if str(step.get("uses", "")).startswith("actions/upload-artifact@")
    ]

    assert [step["if"] for step in uploads] == ["always()"]
    night = Occasion(trigger="schedule", schedule="nightly", profile="full")
    nightly = choose(read_project(REPOSITORY), (), night)
    assert f"'{' '.join(nightly)}'" in path.read_text()
