"""A gateway on a real cluster by docs/deployment.md; only images and the engine's arguments are replaced.

Needs a Kind cluster that has the image on its nodes: `KVSYNC_CI_TEST_MACHINE`.
"""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
import pytest
import yaml

from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.proxy import KubernetesProxy
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, kubectl
from kvsync.testing.processes.wait import wait_for

ROOT = Path(__file__).resolve().parents[3]
SHOWN = re.compile(r"^```yaml (?P<file>\S+)\n(?P<text>.+?)^```$", re.M | re.S)
MODEL = "Qwen/Qwen3-8B"
REQUEST = {"model": MODEL, "prompt": list(range(64)), "max_tokens": 1}
WITHIN_S = 180.0
"""A busy machine takes its time to start pods."""

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


class Installation(NamedTuple):
    """What was applied, and where its two ports are."""

    clients: str
    operators: str


def documented(namespace: str, image: str) -> dict[str, str]:
    """The files that the page shows, for this namespace and image and with a simulator as engine."""
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    files = {each["file"]: each["text"].replace("serving", namespace) for each in SHOWN.finditer(page)}
    engine = yaml.safe_load(files["engine.yaml"])
    container = engine["spec"]["template"]["spec"]["containers"][0]
    container["image"] = image
    container["args"] = ["simulate", "--name=vllm", f"--model={MODEL}", "--host=0.0.0.0"]
    kustomization = yaml.safe_load(files["kustomization.yaml"])
    name, _, tag = image.rpartition(":")
    kustomization["images"] = [{"name": "kvsync", "newName": name, "newTag": tag}]
    return files | {
        "engine.yaml": yaml.safe_dump(engine),
        "kustomization.yaml": yaml.safe_dump(kustomization),
    }


def for_old_clusters(manifests: str) -> str:
    """Change what Kubernetes before 1.21 calls otherwise; Kind's node image may be as old."""
    return manifests.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")


@pytest.fixture
def installation(test_machine: Machine, tmp_path: Path) -> Iterator[Installation]:
    """Two engines and the gateways in a namespace of their own."""

    def run(*words: str, text: str = "") -> ToolAnswer:
        argv = kubectl(test_machine.kubeconfig, test_machine.context, *words)
        answer = ON_PATH.ask(*argv, timeout_s=WITHIN_S + 10, text=text)
        assert answer.ok, f"{words}: {answer.reason}"
        return answer

    namespace = f"{test_machine.namespace_prefix}-test-{secrets.token_hex(4)}"
    overlay = (
        Path("../" * len(tmp_path.resolve().parents)) / ROOT.relative_to("/") / "infra/manifests/gateway"
    )
    for name, text in documented(namespace, test_machine.image).items():
        remote = "github.com/OWNER/kvsync/infra/manifests/gateway"
        (tmp_path / name).write_text(text.replace(remote, str(overlay)))
    proxy = KubernetesProxy(
        test_machine,
        namespaces=namespace,
        log=tmp_path / "proxy.log",
        ledger=Ledger(tmp_path / "ledger.jsonl"),
    )
    run("create", "namespace", namespace)
    try:
        run("apply", "-f", str(tmp_path / "engine.yaml"))
        made = ON_PATH.ask("kubectl", "kustomize", str(tmp_path), timeout_s=30)
        assert made.ok, made.reason
        is_old = "policy/v1\n" not in run("api-versions").output
        manifests = for_old_clusters(made.output) if is_old else made.output
        run("apply", f"--validate={str(not is_old).lower()}", "-f", "-", text=manifests)
        for name in ("vllm", "kvsync-gateway"):
            run(
                "--namespace",
                namespace,
                "rollout",
                "status",
                f"deployment/{name}",
                f"--timeout={WITHIN_S:g}s",
            )
        yield Installation(
            clients=proxy.service(namespace, "kvsync-gateway", 80),
            operators=proxy.service(namespace, "kvsync-gateway-admin", 9090),
        )
    finally:
        proxy.close()
        run("delete", "namespace", namespace, "--wait=false")


def test_the_documented_installation_serves(installation: Installation) -> None:
    """Both engines are followed, a prefix is found again, and operators' routes are not for clients."""

    def exact() -> bool:
        pods = status(installation)["pods"]
        states = [source["state"] for pod in pods for source in pod["sources"]]
        return [pod["healthy"] for pod in pods] == [True, True] and states == ["exact", "exact"]

    def selection() -> str:
        answer = httpx.post(f"{installation.clients}/v1/completions", json=REQUEST, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-kvsync-selection"]

    wait_for(exact, what="both sources are exact", timeout_s=60, last_seen=lambda: status(installation))
    wait_for(lambda: selection() == "prefix_match", what="a prefix is found again", timeout_s=60)
    assert httpx.get(f"{installation.clients}/status", timeout=30).status_code == 404


def status(installation: Installation) -> dict[str, Any]:
    """What one of the gateways says of everything."""
    return cast("dict[str, Any]", httpx.get(f"{installation.operators}/status", timeout=30).json())
