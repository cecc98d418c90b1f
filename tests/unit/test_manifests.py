"""The manifests of infra/, as they are and as a test cluster gets them."""

import json
from pathlib import Path

import pytest
import yaml

from kvsync.config import load_gateway_config
from kvsync.testing.image import versions
from kvsync.testing.kind import cluster_config
from kvsync.testing.kubernetes_cluster import namespace_of
from kvsync.testing.machine import Machine
from kvsync.testing.manifests import Manifest, Manifests, deployment_name, engines, gateway, namespace

INFRA = Path(__file__).resolve().parents[2] / "infra"


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


def test_nothing_runs_as_root_or_writes_to_its_image(manifests: Manifests) -> None:
    """Gateway and engines are locked down the same way."""
    deployments = [manifests.engine, *(each for each in manifests.gateway if each["kind"] == "Deployment")]
    assert len(deployments) == 2
    for each in deployments:
        assert each["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container(each)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container(each)["resources"]["requests"]) == {"cpu", "memory"}


def test_the_gateway_may_only_read_pods(manifests: Manifests) -> None:
    """Least rights: one Role of one rule, and none for engines."""
    (role,) = [each for each in manifests.access if each["kind"] == "Role"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
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
    """It is found by the run that made it, and its name is never too long for Kubernetes."""
    made = namespace(manifests, "kvsync-r1-shared", "r1")
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kvsync-ci",
        "kvsync.dev/run": "r1",
    }
    assert namespace_of("kvsync", "r1", "shared") == "kvsync-r1-shared"
    assert namespace_of("kvsync", "r1", "x" * 54 + "-y") == "kvsync-r1-" + "x" * 53


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
