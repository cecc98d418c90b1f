"""The files of infra/chaos against Chaos Mesh's own definitions of its kinds, on a real API server."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.chaosmesh.manifest import GROUP, VERSION, plural
from kvsync.testing.faults.chaosmesh.resource import ExperimentResource, Reference

pytestmark = [pytest.mark.kubernetes, pytest.mark.usefixtures("chaos_crds")]

FILES = Path(__file__).parents[4] / "infra" / "chaos"
DOCUMENTS: dict[str, Manifest] = {
    document["metadata"]["name"]: document
    for path in sorted(FILES.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}


def resource(client: ApiClient, namespace: str, document: Manifest) -> ExperimentResource:
    """Return where a document belongs."""
    name, kind = document["metadata"]["name"], plural(document["kind"])
    return ExperimentResource(
        client, Reference(group=GROUP, version=VERSION, plural=kind, namespace=namespace, name=name)
    )


def pruned(sent: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of what was sent and is not, or not as it was, in what came back."""
    match sent, kept:
        case dict(), dict():
            return [each for key in sent for each in pruned(sent[key], kept.get(key), f"{path}.{key}")]
        case list(), list() if len(sent) == len(kept):
            pairs = enumerate(zip(sent, kept, strict=True))
            return [each for i, (one, other) in pairs for each in pruned(one, other, f"{path}[{i}]")]
    return [] if sent == kept else [path]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_is_known(name: str, kubernetes_client: ApiClient, kubernetes_namespace: str) -> None:
    """An experiment is valid, and created as it is written: no field is unknown and left out."""
    document = DOCUMENTS[name]
    at = resource(kubernetes_client, kubernetes_namespace, document)

    assert pruned(document, at.create(document, dry_run=True)) == []
    assert at.read() is None
    assert pruned(document, at.create(document)) == []
    assert at.read() is not None
    assert at.remove() is False
    assert at.read() is None


def test_a_misspelt_field_is_noticed(kubernetes_client: ApiClient, kubernetes_namespace: str) -> None:
    """The API server leaves out what it does not know, without a word; the comparison above finds it."""
    document = copy.deepcopy(DOCUMENTS["kvsync-delay"])
    document["spec"]["delay"]["jiter"] = "10ms"
    made = resource(kubernetes_client, kubernetes_namespace, document).create(document, dry_run=True)

    assert pruned(document, made) == [".spec.delay.jiter"]


@pytest.mark.parametrize(
    ("name", "path", "value", "refusal"),
    [
        pytest.param("kvsync-loss", "loss.loss", 50, "must be of type string", id="percentage as a number"),
        pytest.param("kvsync-delay", "delay.latency", "0.5", "should match", id="duration without a unit"),
        pytest.param("kvsync-partition", "direction", "inward", "Unsupported value", id="unknown direction"),
        pytest.param("kvsync-partition", "mode", "some", "Unsupported value", id="unknown mode"),
        pytest.param("kvsync-pod-kill", "action", "kill", "Unsupported value", id="unknown action"),
        pytest.param("kvsync-pod-failure", "value", 50, "must be of type string", id="value as a number"),
        pytest.param("kvsync-disk-latency", "percent", "50", "must be of type integer", id="share as text"),
        pytest.param("kvsync-bandwidth", "bandwidth.limit", 0, "greater than or equal to 1", id="no queue"),
    ],
)
def test_invalid_values_are_refused(
    name: str,
    path: str,
    value: object,
    refusal: str,
    kubernetes_client: ApiClient,
    kubernetes_namespace: str,
) -> None:
    """The definitions find what would do nothing; the error names the field."""
    document = copy.deepcopy(DOCUMENTS[name])
    *parents, field = path.split(".")
    target = document["spec"]
    for parent in parents:
        target = target[parent]
    target[field] = value

    with pytest.raises(ClusterError, match=rf"(?s)cannot create {name}: 422: .*spec\.{path}.*{refusal}"):
        resource(kubernetes_client, kubernetes_namespace, document).create(document, dry_run=True)
