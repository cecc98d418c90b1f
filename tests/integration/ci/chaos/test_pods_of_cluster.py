"""Faults of pods that are found by their labels, on the Kind cluster of KVSYNC_CI_TEST_KUBECONFIG.

They run etcd, whose image every Kind cluster has and which answers HTTP.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvsync.ci.chaos.pods import PodInjector
from kvsync.ci.project.chaos_stage import PodSelector
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.fault import Partition, PodKill
from kvsync.testing.faults.holding import active
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WITHIN_S = 90.0
"""A busy machine takes its time to start a pod."""

COMMAND = [
    "etcd",
    "--data-dir=/tmp/data",
    *(f"--{each}-client-urls=http://0.0.0.0:2379" for each in ("listen", "advertise")),
]


def start(api: KubernetesApi, namespace: str) -> None:
    """Start two pods on a node that has the image, and wait until both are ready."""
    nodes: Any = api.core.list_node().items
    node, image = next(
        (node.metadata.name, name)
        for node in nodes
        for each in node.status.images
        for name in each.names or ()
        if re.search(r"/etcd:", name)
    )
    labels = {"app": "store"}
    container = {
        "name": "etcd",
        "image": image,
        "imagePullPolicy": "Never",
        "command": COMMAND,
        "ports": [{"containerPort": 2379}],
        "readinessProbe": {"tcpSocket": {"port": 2379}, "periodSeconds": 1},
    }
    pod = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "store"}, "spec": spec}
    api.create([body], namespace)
    wait_for(
        lambda: sum(each.ready for each in api.pods(namespace, "app=store")) == 2,
        what="two pods are ready",
        timeout_s=WITHIN_S,
        last_seen=lambda: api.pods(namespace, "app=store"),
    )


def test_a_pod_is_killed_and_cut_off(
    test_kubeconfig: Path, kubernetes_namespace: str, tmp_path: Path
) -> None:
    """Through the API server, and by rules on its node: both are proved, and nothing of them is left."""
    context = yaml.safe_load(test_kubeconfig.read_text())["current-context"]
    if not context.startswith("kind-"):
        pytest.skip("only the nodes of a Kind cluster can be entered")
    kind = context.removeprefix("kind-")
    machine = Machine(kubeconfig=str(test_kubeconfig), context=context, image="", manifests="", kind=kind)
    start(KubernetesApi(machine), kubernetes_namespace)
    ledger, history = Ledger(tmp_path / "run" / "ledger.jsonl"), History(tmp_path / "h.jsonl", proc="x")
    selector = PodSelector(selector="app=store", namespace=kubernetes_namespace)
    by = PodInjector(machine, selector, ledger, history, lambda: None)

    with active(PodKill(pod=by.victim()), by, history, proof_timeout_s=WITHIN_S) as killed:
        pass
    with active(Partition(pod=by.victim()), by, history, proof_timeout_s=WITHIN_S) as cut_off:
        pass

    assert re.fullmatch(r"store-\w+ is gone, store-\w+ came", killed.proof)
    assert killed.absence == "2 of 2 pods are ready"
    assert re.match(r"a request is silent for 0.5 s; lost [1-9]\d* packets to the pod", cut_off.proof)
    assert cut_off.absence == "http answered, the pod is ready"
    assert leftovers([ledger.path]) == []
