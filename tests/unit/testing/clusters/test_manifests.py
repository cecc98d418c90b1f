"""The manifests of infra/, as they are and as a test cluster gets them."""

import json
from pathlib import Path

import pytest
import yaml

from kvsync.ci.provision.image import versions
from kvsync.ci.provision.kind import cluster_config
from kvsync.config import load_gateway_config
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import (
    Manifest,
    Manifests,
    deployment_name,
    engines,
    gateway,
    namespace,
)
from kvsync.testing.clusters.kubernetes.provider import namespace_of, namespaces_of

INFRA = Path(__file__).resolve().parents[4] / "infra"


@pytest.fixture
def manifests() -> Manifests:
    """The files of this repository."""
    return Manifests.read(INFRA / "manifests")


def container(deployment: Manifest) -> Manifest:
    """The only container of a Deployment."""
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_all_files_are_in_the_kustomization() -> None:
    """`kubectl apply -k` applies every manifest there is."""
    listed = yaml.safe_load((INFRA / "manifests/kustomization.yaml").read_text())["resources"]
    there = {file.name for file in (INFRA / "manifests").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there


RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pods_of(manifests: Manifests) -> dict[str, Manifest]:
    """What the pods of gateway and engines consist of."""
    objects = (*manifests.gateway, manifests.engine)
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] == "Deployment"
    }


@pytest.mark.parametrize("name", ["gateway", "engine"])
def test_pods_keep_to_the_restricted_profile(manifests: Manifests, name: str) -> None:
    """Namespaces may enforce it: nothing of the host, no privileges, no root, and seccomp's own filter."""
    pod = pods_of(manifests)[name]
    assert not {"hostNetwork", "hostPID", "hostIPC", "ephemeralContainers"} & pod.keys()
    assert {key for volume in pod["volumes"] for key in volume} - {"name"} <= RESTRICTED_VOLUMES
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for each in [*pod["containers"], *pod.get("initContainers", ())]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port or "hostIP" in port for port in each["ports"])
        probes = [each[probe] for probe in ("readinessProbe", "livenessProbe") if probe in each]
        assert not any("host" in probe["httpGet"] for probe in probes)
        assert set(each["resources"]["requests"]) == {"cpu", "memory"}


def test_annotations_and_labels_ask_for_no_other_profile(manifests: Manifests) -> None:
    """A label of the namespace would override what an administrator enforces, an annotation our pods'."""
    (gateway_pod,) = [each for each in manifests.gateway if each["kind"] == "Deployment"]
    for each in (manifests.namespace, *(d["spec"]["template"] for d in (gateway_pod, manifests.engine))):
        said = {**each["metadata"].get("labels", {}), **each["metadata"].get("annotations", {})}
        assert not [key for key in said if ".kubernetes.io/" in key and key != "app.kubernetes.io/managed-by"]


def test_the_gateway_may_only_follow_pods(manifests: Manifests) -> None:
    """Least rights: one Role of one rule, with the verbs of its two questions, and none for engines."""
    (role,) = [each for each in manifests.access if each["kind"] == "Role"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    (binding,) = [each for each in manifests.access if each["kind"] == "RoleBinding"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "gateway"}]
    assert manifests.engine["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_configuration_in_the_file_is_one_that_the_gateway_takes(
    manifests: Manifests, tmp_path: Path
) -> None:
    """What is applied by hand finds pods in Kubernetes and listens where the Service sends to."""
    (config,) = [each for each in manifests.gateway if each["kind"] == "ConfigMap"]
    file = tmp_path / "gateway.json"
    file.write_text(config["data"]["gateway.json"])
    read = load_gateway_config(file, {})
    assert read.kubernetes is not None
    assert (read.host, read.port) == ("0.0.0.0", 8080)  # noqa: S104 - as a pod has to


def test_a_gateway_gets_settings_image_and_replicas(manifests: Manifests) -> None:
    """Settings go on top of those in the file, and the files themselves stay as they are."""
    objects = gateway(manifests, image="kvsync:x", settings={"block_size": 4, "port": 9}, replicas=2)
    config, deployment, service = objects
    assert json.loads(config["data"]["gateway.json"]) == {
        "host": "0.0.0.0",  # noqa: S104 - as above
        "port": 9,
        "kubernetes": {},
        "block_size": 4,
    }
    assert (deployment["spec"]["replicas"], container(deployment)["image"]) == (2, "kvsync:x")
    assert service["kind"] == "Service"
    assert manifests.gateway == Manifests.read(INFRA / "manifests").gateway


def test_engines_of_a_model_are_found_by_it(manifests: Manifests) -> None:
    """Name, selector, labels and flags are those of the model."""
    made = engines(manifests, model="Qwen-7B", replicas=5, image="kvsync:x", flags=["--capacity", "8"])
    assert made["metadata"]["name"] == "engine-qwen-7b"
    assert made["spec"]["replicas"] == 5
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["model.aibrix.ai/name"] == "Qwen-7B"
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert container(made)["args"][-4:] == ["--model", "Qwen-7B", "--capacity", "8"]


def test_a_namespace_belongs_to_its_run(manifests: Manifests) -> None:
    """It is found by the run that made it."""
    made = namespace(manifests, "kvsync-r1-shared", "r1")
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kvsync-ci",
        "kvsync.dev/run": "r1",
    }


RUN = "20261121-123559-0f9d3c527a1e"


@pytest.mark.parametrize(
    ("prefix", "run", "name", "expected"),
    [
        ("kvsync", "r1", "shared", "kvsync-r1-shared"),
        ("kvsync", "r1", "x" * 53, "kvsync-r1-" + "x" * 53),
        ("kvsync", "r1", "x" * 54, "kvsync-r1-" + "x" * 44 + "-bcb9a616"),
        ("kvsync", RUN, "partition", f"kvsync-{RUN}-partition"),
        ("kvsync", RUN, "partition-from-the-pod-heals", f"kvsync-{RUN}-partition-from-the-077db686"),
        ("team-a-pull-requests", RUN, "partition-to-the-pod", f"team-a-pull-requests-{RUN}-part-74d94f14"),
        ("kvsync", "x" * 60, "partition", f"kvsync-{'x' * 47}-fad719c3"),
    ],
    ids=[
        "short",
        "just short enough",
        "too long",
        "of a flow run",
        "too long there",
        "long prefix",
        "long run",
    ],
)
def test_a_namespace_of_a_long_name_ends_with_a_digest_of_it(
    prefix: str, run: str, name: str, expected: str
) -> None:
    """It is as long as Kubernetes allows, the same every time, and found by what those of its run share."""
    made = namespace_of(prefix, run, name)
    assert made == expected
    assert len(made) <= 63
    assert made.startswith(namespaces_of(prefix, run))


def test_namespaces_of_one_run_are_different() -> None:
    """Also where their names differ at the end only: one that is being deleted keeps its name for a while."""
    names = [f"test-index-heals-after-a-partition{which}" for which in ("", "-to-the-pod", "-from-the-pod")]
    for run in (RUN, "x" * 60):
        assert len({namespace_of("kvsync", run, name) for name in names}) == 3


def test_the_kind_configuration_by_hand_is_the_one_of_a_run() -> None:
    """Who follows the file gets the nodes that a run has."""
    assert yaml.safe_load((INFRA / "kind/cluster.yaml").read_text()) == yaml.safe_load(cluster_config(2))


def test_versions_of_a_lock_file_come_without_hashes() -> None:
    """What pip gets as constraints says versions and markers only."""
    lock = [
        "a==1.0 \\",
        "    --hash=sha256:00",
        "    # via b",
        "b==2 ; python_version < '3.12' \\",
        "# c",
    ]
    assert versions(lock) == ["a==1.0", "b==2 ; python_version < '3.12'"]


def test_deployment_names_are_names_of_kubernetes() -> None:
    """Whatever a model is called."""
    assert deployment_name("meta-llama/Llama-3.1-8B") == "engine-meta-llama-llama-3-1-8b"


def test_a_machine_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The stages of a run find the cluster that was made for it."""
    machine = Machine(kubeconfig="/k", context="c", image="i", manifests="/m", kind="n", ready_timeout_s=7)
    machine.write(tmp_path / "machine.json")
    assert Machine.read(tmp_path / "machine.json") == machine
