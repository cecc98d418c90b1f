"""What users apply to their own clusters: the gateway's manifests, their overlays, and the Helm chart.

Without Helm the chart's rendering as it was last made stands for it. After a change of the chart:

    python -m tests.integration.deployments.test_gateway_manifests
"""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import yaml

import kvsync
from kvsync.config import load_gateway_config
from kvsync.kube.pods import SAYS
from kvsync.testing.processes.tools import ON_PATH

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Document = dict[str, object]

ROOT = Path(__file__).resolve().parents[3]
GATEWAY = ROOT / "infra" / "manifests" / "gateway"
CHART = ROOT / "infra" / "charts" / "kvsync-gateway"
RENDERED = Path(__file__).parent / "chart.yaml"
OVERLAYS = sorted(folder.name for folder in (GATEWAY / "overlays").iterdir())
NAMESPACE = "serving"
TEMPLATE = ("helm", "template", "kvsync", str(CHART), "--namespace", NAMESPACE)


def kustomized(folder: Path) -> list[Document]:
    """What `kubectl apply -k` would send."""
    if not ON_PATH.find("kubectl"):
        pytest.skip("needs kubectl")
    answer = ON_PATH.ask("kubectl", "kustomize", str(folder), timeout_s=20)
    assert answer.ok, answer.reason
    return list(yaml.safe_load_all(answer.output))


def one(documents: list[Document], kind: str, name: str = "kvsync-gateway") -> Document:
    """The document of this kind and name, whatever hash its name ends with."""
    (found,) = [
        each
        for each in documents
        if each["kind"] == kind
        and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", str(at(each, "metadata", "name")))
    ]
    return found


def at(value: object, *path: str | int) -> object:
    """Follow keys and numbers into a document."""
    for step in path:
        value = cast("dict[str | int, object]", value)[step]
    return value


def digest() -> str:
    """What the chart is, as one line."""
    files = sorted(file for file in CHART.rglob("*") if file.is_file())
    parts = [f"{file.relative_to(CHART)}\n{file.read_text()}" for file in files]
    return f"# of the chart {hashlib.sha256(''.join(parts).encode()).hexdigest()}\n"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_whole(overlay: str, tmp_path: Path) -> None:
    """All has its namespace, the configuration is one that the gateway takes, the version is this one."""
    documents = kustomized(GATEWAY / "overlays" / overlay)
    config = tmp_path / "gateway.yaml"
    config.write_text(str(at(one(documents, "ConfigMap"), "data", "gateway.yaml")))
    container = at(one(documents, "Deployment"), "spec", "template", "spec", "containers", 0)

    settings = load_gateway_config(config, {})

    assert len({str(at(each, "metadata", "namespace")) for each in documents}) == 1
    assert at(container, "image") == f"kvsync:{kvsync.__version__}"
    ports = [
        (at(each, "name"), at(each, "containerPort")) for each in cast("list[object]", at(container, "ports"))
    ]
    assert settings.access.admin is not None
    assert ports == [("http", settings.port), ("admin", settings.access.admin.port)]
    assert settings.host == "0.0.0.0"  # noqa: S104 - in a pod
    guarded = at(
        one(documents, "NetworkPolicy", "kvsync-engine-events"), "spec", "podSelector", "matchLabels"
    )
    ((label, value),) = cast("dict[str, str]", guarded).items()
    assert settings.kubernetes is not None
    assert f"{label}={value}" in settings.kubernetes.selector.split(",")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay: str) -> None:
    """A field that is misspelt would be dropped, or refused, by an API server."""
    documents = kustomized(GATEWAY / "overlays" / overlay)

    assert [
        field for each in documents for field in unknown(each, f"V1{each['kind']}", str(each["kind"]))
    ] == []


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    """However deep it is."""
    spec = {"ingress": [{"ports": [{"port": 1, "endport": 2}]}], "podSelector": {"matchLabels": {"any": "x"}}}

    assert list(unknown({"spec": spec, "kind": "x"}, "V1NetworkPolicy", "policy")) == [
        "policy.spec.ingress.ports.endport"
    ]


def unknown(value: object, model: str, where: str) -> Iterator[str]:
    """Name the fields of a document that the client's model of its kind does not have."""
    from kubernetes import client

    listed = re.fullmatch(r"List\[(.+)\]", model)
    if isinstance(value, list) and listed:
        for each in value:
            yield from unknown(each, listed[1], where)
    elif isinstance(value, dict) and hasattr(client, model):
        its = getattr(client, model)
        fields = {key: its.openapi_types[name] for name, key in its.attribute_map.items()}
        for key, inner in value.items():
            if key in fields:
                yield from unknown(inner, fields[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"


def test_the_gateway_may_see_pods_and_nothing_else() -> None:
    """Its role is of its namespace, and none is of the cluster."""
    documents = kustomized(GATEWAY / "overlays" / "aibrix")
    rules = [each["rules"] for each in documents if each["kind"] in {"Role", "ClusterRole"}]

    assert rules == [[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]]
    assert not [each for each in documents if str(each["kind"]).startswith("Cluster")]


def test_the_pods_are_confined() -> None:
    """No root, no way to become it, and nothing to write to."""
    pod = at(one(kustomized(GATEWAY / "overlays" / "aibrix"), "Deployment"), "spec", "template", "spec")

    assert at(pod, "securityContext", "runAsNonRoot") is True
    assert at(pod, "containers", 0, "securityContext") == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_components_add_what_they_say(tmp_path: Path) -> None:
    """With all of them, clients need keys and TLS, rights are the cluster's, and Prometheus knows."""
    names = sorted(folder.name for folder in (GATEWAY / "components").iterdir())
    # Kustomize takes no absolute paths, and refuses what is above the file where it begins.
    here = ROOT / "infra" / "manifests" / "gateway"
    folder = tmp_path / "own"
    folder.mkdir()
    up = Path("../" * len(folder.resolve().parents)) / here.relative_to("/")
    components = [str(up / "components" / name) for name in names]
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"namespace": "x", "resources": [str(up / "base")], "components": components})
    )

    documents = kustomized(folder)

    container = at(one(documents, "Deployment"), "spec", "template", "spec", "containers", 0)
    environment = {at(each, "name"): at(each, "value") for each in cast("list[object]", at(container, "env"))}
    mounted = {at(each, "mountPath") for each in cast("list[object]", at(container, "volumeMounts"))}
    assert names == ["client-keys", "cluster-wide", "service-monitor", "tls"]
    assert environment == {
        "KVSYNC_ACCESS__KEYS_FILE": "/etc/kvsync/keys/keys.yaml",
        "KVSYNC_ACCESS__TLS__CERTIFICATE": "/etc/kvsync/tls/tls.crt",
        "KVSYNC_ACCESS__TLS__KEY": "/etc/kvsync/tls/tls.key",
    }
    assert {str(Path(str(file)).parent) for file in environment.values()} <= mounted
    kinds = {each["kind"] for each in documents}
    assert {"ClusterRole", "ClusterRoleBinding", "ServiceMonitor"} <= kinds
    assert not {"Role", "RoleBinding"} & kinds
    subject = at(one(documents, "ClusterRoleBinding"), "subjects", 0)
    assert subject == {"kind": "ServiceAccount", "name": "kvsync-gateway", "namespace": "x"}
    assert at(one(documents, "Service"), "spec", "ports") == [
        {"name": "https", "port": 443, "targetPort": "http"}
    ]


def base() -> Iterator[Document]:
    """The documents of the base as an overlay for the chart's namespace would have them."""
    listed = yaml.safe_load((GATEWAY / "base" / "kustomization.yaml").read_text())
    for name in listed["resources"]:
        yield from yaml.safe_load_all((GATEWAY / "base" / name).read_text())
    config = yaml.safe_load((GATEWAY / "base" / "gateway.yaml").read_text())
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kvsync-gateway"}, "data": config}


def compared(documents: Iterator[Document]) -> dict[tuple[str, str], Document]:
    """The documents by kind and name, without what a base leaves to its overlays."""
    found = {}
    for each in documents:
        metadata = cast("Document", each["metadata"])
        metadata.pop("namespace", None)
        match each["kind"]:
            case "Deployment":
                container = cast("Document", at(each, "spec", "template", "spec", "containers", 0))
                container["image"] = str(container["image"]).partition(":")[0]
                container["env"] = container["env"] or []
                cast("Document", at(each, "spec", "template", "metadata")).pop("annotations", None)
            case "Service":
                cast("Document", each["spec"]).setdefault("type", "ClusterIP")
            case "RoleBinding":
                cast("Document", at(each, "subjects", 0)).pop("namespace", None)
            case "ConfigMap" if "gateway.yaml" in cast("Document", each["data"]):
                each["data"] = yaml.safe_load(str(at(each, "data", "gateway.yaml")))
        found[str(each["kind"]), str(metadata["name"])] = each
    return found


def test_the_chart_has_what_the_base_has() -> None:
    """With its own values it is rendered to the same objects, field by field."""
    rendered = RENDERED.read_text()

    assert rendered.startswith(digest()), f"the chart has changed; {(__doc__ or '').strip().splitlines()[-1]}"
    assert compared(iter(yaml.safe_load_all(rendered))) == compared(base())


def test_helm_renders_the_chart_so() -> None:
    """Helm finds nothing to say against it, and makes of it what is kept here."""
    if not ON_PATH.find("helm"):
        pytest.skip("needs Helm")
    linted = ON_PATH.ask("helm", "lint", "--strict", str(CHART), timeout_s=30)
    rendered = ON_PATH.ask(*TEMPLATE, timeout_s=30)

    assert linted.ok, linted.output
    kept = yaml.safe_load_all(RENDERED.read_text())
    assert compared(iter(yaml.safe_load_all(rendered.output))) == compared(iter(kept))


def test_the_chart_is_of_this_version() -> None:
    """A release has one number."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (kvsync.__version__, kvsync.__version__)


def test_what_pods_can_say_is_in_one_table() -> None:
    """Each label and annotation that is read has its line in the document, and none has one that is not."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    table = page[page.index("## What pods say") : page.index("## ", page.index("## What pods say") + 3)]
    named = set(re.findall(r"`((?:kvsync\.dev|model\.aibrix\.ai|llm-d\.ai)/[\w-]+)`", table))

    assert named == {key for keys in SAYS.values() for key in keys} | {"model.aibrix.ai/kv-events-enabled"}


@pytest.mark.kubernetes
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_api_server_takes_an_overlay(
    kubernetes_client: "ApiClient", kubernetes_namespace: str, overlay: str
) -> None:
    """Each passes the server's own validation and admission, without being kept."""
    from kubernetes.dynamic import DynamicClient
    from kubernetes.dynamic.exceptions import ResourceNotFoundError

    client = DynamicClient(kubernetes_client)  # type: ignore[no-untyped-call]  # has no types
    for each in kustomized(GATEWAY / "overlays" / overlay):
        cast("Document", each["metadata"])["namespace"] = kubernetes_namespace
        try:
            kind = client.resources.get(api_version=each["apiVersion"], kind=each["kind"])
        except ResourceNotFoundError:  # Kubernetes before 1.21
            assert each["kind"] == "PodDisruptionBudget"
            each["apiVersion"] = "policy/v1beta1"
            kind = client.resources.get(api_version=each["apiVersion"], kind=each["kind"])
        body = {"body": each, "namespace": kubernetes_namespace, "query_params": [("dryRun", "All")]}
        made = client.create(kind, **body)  # type: ignore[no-untyped-call]  # has no types
        assert made.metadata.name == at(each, "metadata", "name")


if __name__ == "__main__":
    made = subprocess.run(TEMPLATE, capture_output=True, text=True, check=True, timeout=60)
    RENDERED.write_text(digest() + made.stdout)
